"""Scenarios of `kafka.rest_ack = "broker"`: an answer that says nothing else means that the broker has the decision."""

import json

from suite.away import back
from suite.kafka import Failure, Reader
from suite.scenarios import CLEAN, scenario
from suite.service import Rest

# Long enough for a broker's acknowledgement on a busy machine, short enough to wait for in vain.
DEADLINE = "2s"


@scenario()
def acknowledged(suite, seed):
    """rest_ack = broker: what was answered is in the topic already; with the broker away the answer says not_recorded, in time."""
    with suite.stage("acknowledged", seed) as stage:
        service = stage.start(settings={"kafka.rest_ack": "broker", "limits.deadline": DEADLINE})
        door, traffic = Rest(service), stage.traffic(customers=20, mix=CLEAN)
        with Reader(stage.bootstrap) as reader:
            for number in range(suite.size(20, 200)):
                body = json.loads(traffic.take(1)[0]["value"])
                answer = _post(stage, door, body)
                if answer["degraded_reasons"] and "not_recorded" in answer["degraded_reasons"]:
                    raise Failure(f"answer {number} says not_recorded, with the broker there; {service.end_of_log()}")
                found, _ = reader.read([stage.topics["transactions"]], isolation="read_uncommitted")
                if all(json.loads(record.value)["transaction_id"] != body["transaction_id"] for record in found):
                    raise Failure(f"answer {number} came before its record was in the topic")
        with back(stage.cluster):
            stage.cluster.node("kill")
            answer = _post(stage, door, json.loads(traffic.take(1)[0]["value"]))
            if "not_recorded" not in answer["degraded_reasons"]:
                raise Failure(f"without a broker the answer claims that the broker has it: {answer['degraded_reasons']}")
        stage.wait_published()
        stage.settle()
        stage.verify(features=False)
        return f"{len(stage.rest)} answers, each behind its record but the one without a broker, which said so"


def _post(stage, door, body):
    status, answer = door.post("/v1/decisions", body)
    if status != 200:
        raise Failure(f"REST answered {status}: {answer}")
    stage.rest[body["transaction_id"]] = answer
    return answer
