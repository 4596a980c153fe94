"""A model that begins to fail under load, again and again: how long until its breaker is open, and what callers notice.

The model is NaN for one amount (`bundles.faulty`), and the generator's schedule has stretches of that amount: so the fault begins
at a known request, in the release binary, over the wire. Both ends are the service's own clock in microseconds: the first failed
call's begin (its `evaluated_at` less what it took) and the breaker's transition in the audit record.
"""

import datetime
import json
import random
import re
import tempfile
import pathlib

import harness
from harness import say

from . import bundles

RATE = 500
DEADLINE_MS = 100
# A cycle is a stretch in which every payment has the amount, and one in which the breaker closes again.
FAULT_LEN, PAUSE_LEN = 100, 300
CYCLES, CYCLES_QUICK = 220, 20
GOAL_P99_MS = 50
# Only the way back is shortened, or 200 times would take two hours; what opens a breaker is as shipped.
QUICK_WAY_BACK = {
    "breaker.cool": "20ms", "breaker.cool_max": "20ms", "breaker.shadow_percent": 100, "breaker.step_calls": 5,
    "breaker.step": "10ms", "breaker.full": "20ms", "breaker.step_max": "20ms",
}  # fmt: skip


def detection(run):
    """Runs the cycles and measures each."""
    cycles = CYCLES_QUICK if run.quick else CYCLES
    with tempfile.TemporaryDirectory(prefix="heal-", dir=run.folder) as folder:
        folder = pathlib.Path(folder)
        models = folder / "models"
        # On disk: the record in memory is a ring, and would forget the first faults. No standby: healing is at work, and nobody
        # else shall answer.
        settings = {"state.directory": folder / "state", "models.directory": models, "models.standby": ""} | QUICK_WAY_BACK
        settings["models.active"] = bundles.faulty(models)
        bodies, faults = schedule(run, folder / "faults.jsonl", cycles)
        answers = folder / "answers.tsv"
        say(f"detection: {cycles} faults at {RATE}/s")
        with run.serve(settings) as server:
            with harness.Generator(server, bodies, RATE, bodies.count / RATE + 1, 64, record=answers, whole=True) as load:
                load.go()
                result = load.finish()
            moves = [move for record in run.audit(server) if record["kind"] == "breaker" for move in [record["body"]]]
        return judge(result, faults, read(answers), moves)


def schedule(run, path, cycles):
    """Writes the bodies and returns them with the ids of each stretch."""
    chance = random.Random(11)
    run.bodies.at_least(cycles * (FAULT_LEN + 2 * PAUSE_LEN))
    faults, count = [], 0
    with open(run.bodies.path) as source, open(path, "w") as out:
        for _ in range(cycles):
            # Not in step with the ticks of the service.
            for _ in range(PAUSE_LEN + chance.randrange(-40, 41)):
                out.write(next(source))
                count += 1
            faults.append([])
            for _ in range(FAULT_LEN):
                line = re.sub(r'"amount":\d+', f'"amount":{bundles.FAULTY_AMOUNT}', next(source), count=1)
                line = re.sub(r'"currency":"[A-Z]+"', '"currency":"EUR"', line, count=1)
                out.write(line)
                faults[-1].append(json.loads(line)["transaction_id"])
                count += 1
    return Lines(path, count), faults


class Lines:
    """A file of bodies as the generator takes it."""

    def __init__(self, path, count):
        self.path, self.count = path, count


def read(path):
    """Every answer by its id: when its evaluation began, why it was degraded, how long it took."""
    found = {}
    for line in path.read_text().splitlines():
        identity, _, _, at, _, _, _, _, degraded, total, due, sent = line.split("\t")
        begun = instant(at) - int(total)
        found[identity] = {"begun": begun, "degraded": degraded.split(","), "total": int(total), "due": int(due), "sent": int(sent)}
    return found


def instant(text):
    """Microseconds since 1970."""
    at = datetime.datetime.fromisoformat(text)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def judge(result, faults, answers, moves):
    places = [(instant(move["at"]), move["from"], move["to"], move["cause"]) for move in moves]
    delays, failed, causes, not_closed, missed = [], [], {}, 0, 0
    for identities in faults:
        calls = [answers[identity] for identity in identities if identity in answers]
        bad = [call["begun"] for call in calls if "score_not_finite" in call["degraded"]]
        if not bad:
            not_closed += 1
            continue
        first = min(bad)
        before = [place for place in places if place[0] <= first]
        if before and before[-1][2] != "closed":
            not_closed += 1
            continue
        opened = next((place for place in places if place[0] > first and place[2] == "open"), None)
        if opened is None or opened[0] > max(call["begun"] for call in calls) + 1_000_000:
            missed += 1
            continue
        delays.append((opened[0] - first) / 1000)
        failed.append(sum(begun <= opened[0] for begun in bad))
        causes[opened[3]] = causes.get(opened[3], 0) + 1
    every = list(answers.values())
    failures = sum(count for status, count in result["statuses"].items() if status != "200") + sum(result["failures"].values())
    return {
        "rate": RATE,
        "faults": len(faults),
        "measured": len(delays),
        "not_closed_before": not_closed,
        "missed": missed,
        "opened_by": causes,
        "delay_ms": spread(delays),
        "failed_calls": spread(failed),
        "answers": len(every),
        "by_rules": sum("breaker_open" in one["degraded"] for one in every),
        "requests_failed": failures + result["unanswered"] + result["late"],
        "deadline_ms": DEADLINE_MS,
        "latest_since_sent_ms": max(one["sent"] for one in every) / 1000,
        "latest_in_service_ms": max(one["total"] for one in every) / 1000,
        "late_answers": sum(one["total"] > DEADLINE_MS * 1000 for one in every),
        "late_since_sent": sum(one["sent"] > DEADLINE_MS * 1000 for one in every),
        "goal_p99_ms": GOAL_P99_MS,
    }


def spread(values):
    if not values:
        return None
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))]
    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "most": values[-1]}
