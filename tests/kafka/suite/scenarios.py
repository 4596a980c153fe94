"""The scenarios of one node: one function each. A scenario sets up, hurts, waits, and lets the verifier judge.

Each takes the suite and a seed and returns a line for the table; what is wrong is raised. `short` scenarios are the
short form; all of them, some longer, are the long one.
"""

import contextlib
import shutil
import signal
import threading
import time

from suite import oracle
from suite.kafka import Failure, wait_until
from suite.service import Rest
from suite.stage import SESSION_SECONDS
from suite.traffic import CLEAN, DAY, ORDERLY, POISON, TANGLED, micros_of

SCENARIOS = []


def scenario(short=True, secure=False, nodes=1):
    """Enters a function into the list."""

    def enter(function):
        function.short, function.secure, function.nodes = short, secure, nodes
        SCENARIOS.append(function)
        return function

    return enter


# ---- What is decided ------------------------------------------------------------------------------------------------


@scenario()
def every_feature(suite, seed):
    """One partition, forty days in a minute: every feature of every entity, with labels, against the oracle."""
    with suite.stage("every_feature", seed, partitions=1) as stage:
        stage.start()
        count = suite.size(1200, 6000)
        traffic = stage.traffic(span=40 * DAY, count=count, customers=25)
        for _ in range(6):
            stage.send(traffic.take(count // 6))
            stage.settle()
            # A label of the newest moment: whatever is later sees it, whatever comes late does not.
            now = max(micros_of(body["occurred_at"]) for body in traffic.valid) + 1
            bodies = traffic.random.sample(traffic.valid, 30)
            stage.send([traffic.label(body, traffic.random.choice(["fraud", "legitimate"]), when=now) for body in bodies])
            stage.settle()
        stage.probe(traffic)
        stage.settle()
        _, told = stage.verify(kinds=oracle.OWN + oracle.SHARED)
        return f"{told['features']} vectors equal"


@scenario()
def poison(suite, seed):
    """Every kind of bad record, each between two good ones; 10 MB; a storm of them stops the lane and no record is lost."""
    settings = {"kafka.dead.share_max": 0.6, "kafka.dead.count_min": 60}
    with suite.stage("poison", seed, settings=settings) as stage:
        stage.tools.admin.ask("settings", topic=stage.topics["transactions"], settings={"max.message.bytes": str(12 << 20)})
        service = stage.start()
        traffic = stage.traffic(customers=10, mix=ORDERLY)
        for name in POISON:
            stage.send([*traffic.take(3), traffic.poison(name), *traffic.take(3)])
        huge = traffic.poison("json")
        huge = {key: value for key, value in huge.items() if key != "value"} | {"value_size": 10 << 20, "headers": {"suite": "poison:huge"}}
        stage.send([*traffic.take(20), huge, *traffic.take(20)])
        stage.send([traffic.bad_label(), traffic.label(traffic.valid[-1])])
        stage.settle()
        _, told = stage.verify()
        # Now nothing but poison: that is no bad record, that is a bad sender.
        stage.send([traffic.poison("other_schema") for _ in range(2000)])
        wait_until(lambda: service.said("halted"), 20, lambda: f"a storm of poison to stop the lane: {service.end_of_log()}")
        wait_until(lambda: service.get("/readyz")[0] == 503, 10, lambda: f"readiness to go with the lane: {service.get('/readyz')}")
        left = sum(stage.lag().values())
        if not left:
            raise Failure("the lane stopped after the whole storm had gone through")
        service.stop()
        service.settings |= {"kafka.dead.share_max": 1.0}
        service.start()
        stage.settle()
        stage.verify()
        return f"{told['dead']} put aside, neighbours scored; a storm of 2000 stopped the lane with {left} unread"


@scenario()
def labels(suite, seed):
    """Labels after their transaction, before it, twice, without a key, and for nobody."""
    with suite.stage("labels", seed) as stage:
        stage.start()
        traffic = stage.traffic(customers=15, mix=CLEAN, count=300)
        early = [traffic.next() for _ in range(10)]
        bodies = list(traffic.valid)
        stage.send([traffic.label(body) for body in bodies])
        stage.settle()
        stage.send(early)
        stage.settle()
        stage.send(traffic.take(250))
        stage.settle()
        some = traffic.random.sample(traffic.valid, 60)
        stage.send([traffic.label(body, key=number % 3 != 0) for number, body in enumerate(some)])
        stage.send([traffic.label({"transaction_id": "nobody's", "customer_id": "nobody"})])
        stage.settle()
        # A later one supersedes.
        stage.send([traffic.label(body, "legitimate") for body in some[:20]])
        stage.settle()
        stage.probe(traffic)
        stage.settle()
        _, told = stage.verify()
        return f"{len(bodies) + len(some) + 21} labels, {told['features']} vectors equal"


# ---- Crashes --------------------------------------------------------------------------------------------------------

CRASH_POINTS = [
    "mid-decide#3",
    "before-begin#2",
    "after-begin#4",
    "mid-produce#40",
    "after-produce#2",
    "after-flush#3",
    "after-offsets#5",
    "after-commit#2",
    "before-journal#3",
    "after-journal#2",
    "outbox-after-ack",
    "mid-restore",
]


@scenario()
def crash_points(suite, seed):
    """Death at each labelled point of a transaction, under load by both doors."""
    with suite.stage("crash_points", seed) as stage:
        service = stage.start()
        load = stage.load(stage.traffic(), rate=suite.rate // 2, loose_labels=True)
        door = stage.door(service)
        time.sleep(1)
        missed = []
        for point in CRASH_POINTS:
            if point.startswith("mid-restore"):
                # Nothing is restored from the broker while the local store is whole; and answers that are not
                # published yet are nowhere but in it.
                with door.turn:
                    stage.wait_published()
                    service.kill()
                    shutil.rmtree(service.store)
            service.kill()
            service.start(crash_at=point, wait=False)
            if service.wait_ended(20) is None:
                missed.append(point)
            service.kill()
            service.start()
        if missed:
            raise Failure(f"these points were never reached: {missed}")
        took, told = stage.finish(load, door)
        return f"{len(CRASH_POINTS)} points, {told['new']} decided, caught up {took:.1f} s after the last"


@scenario()
def kills(suite, seed):
    """kill -9 at any moment of two lanes, under load by both doors, labels on their way."""
    with suite.stage("kills", seed, partitions=4, settings={"kafka.lanes": 2}) as stage:
        service = stage.start()
        load = stage.load(stage.traffic(count=suite.size(6000, 60000)), loose_labels=True)
        door = stage.door(service)
        count = suite.size(5, 200)
        for _ in range(count):
            time.sleep(stage.random.uniform(0.1, 2.5))
            service.kill()
            service.start(wait=False)
        service.wait_ready()
        took, told = stage.finish(load, door)
        return f"{count} kills, {told['new']} decided, {len(stage.rest)} by REST, caught up {took:.1f} s after the last"


@scenario()
def drained(suite, seed):
    """SIGTERM under load: ends in order with code 0 within its budget, and the next start goes on at once."""
    with suite.stage("drained", seed) as stage:
        service = stage.start()
        load = stage.load(stage.traffic())
        longest, back = 0.0, []
        for _ in range(suite.size(3, 20)):
            time.sleep(stage.random.uniform(0.5, 1.5))
            code, took = service.stop()
            if code != 0:
                raise Failure(f"SIGTERM ended it with {code}; {service.end_of_log()}")
            longest = max(longest, took)
            before = sum(offset for offset, _ in stage.committed().values())
            began = time.monotonic()
            service.start(wait=False)
            wait_until(lambda: sum(offset for offset, _ in stage.committed().values()) > before, 30, lambda: f"the first commit after a restart; {service.end_of_log()}")
            back.append(time.monotonic() - began)
        load.stop()
        stage.settle()
        _, told = stage.verify()
        return f"{len(back)} restarts, {told['new']} decided; ended within {longest:.1f} s, start to next commit {max(back):.1f} s at most"


# ---- Several instances ----------------------------------------------------------------------------------------------


def _wait_shares(stage, instances, within=SESSION_SECONDS + 25):
    """Waits until these instances, and no others, share all partitions."""
    names = [f"{one}-0" for one in instances]

    def shared():
        with contextlib.suppress(Failure):
            owners = stage.owners()
            held = sorted(partition for mine in owners.values() for partition in mine)
            return held == list(range(stage.partitions)) and all(owners.get(name) for name in names) and len(owners) == len(names)
        return False

    def told():
        with contextlib.suppress(Failure):
            return f"{names} to share all partitions: {stage.owners()}; {stage._states()}"
        return f"{names} to share all partitions"

    wait_until(shared, within, told, every=0.2)


@scenario()
def members(suite, seed):
    """One instance, then three, then one, under load: members join in the middle of transactions."""
    with suite.stage("members", seed, partitions=4) as stage:
        stage.start("a")
        load = stage.load(stage.traffic(count=9000))
        for _ in range(suite.size(1, 5)):
            time.sleep(1)
            others = [stage.start(name, wait=False) for name in ("b", "c") if not _there(stage, name)] or [one.start(wait=False) for one in stage.services[1:]]
            _wait_shares(stage, "abc")
            time.sleep(1)
            for one in others:
                one.stop()
            # They stay members until the session is over: a restart within it moves nothing.
            _wait_shares(stage, "a")
        took, told = stage.finish(load)
        return f"1 -> 3 -> 1, {told['new']} decided, caught up after {took:.1f} s"


def _there(stage, name):
    return any(one.instance == name for one in stage.services)


@scenario()
def frozen(suite, seed):
    """An instance stopped past its session (SIGSTOP) wakes up (CONT) with a batch in hand: alone, and beside another."""
    with suite.stage("frozen", seed, partitions=4) as stage:
        first = stage.start("a")
        load = stage.load(stage.traffic(count=9000, customers=suite.size(20, 400), mix=TANGLED))
        freezes = 0
        # Alone it gets the same records back, and decides them a second time.
        for _ in range(suite.size(1, 5)):
            freezes += _freeze(stage, first)
            _wait_shares(stage, "a")
        second = stage.start("b")
        _wait_shares(stage, "ab")
        for victim in [first, second][: suite.size(1, 2)] * suite.size(1, 4):
            freezes += _freeze(stage, victim)
            _wait_shares(stage, "ab")
        took, told = stage.finish(load)
        return f"{freezes} freezes of {SESSION_SECONDS + 2} s, {told['new']} decided, caught up after {took:.1f} s"


def _freeze(stage, victim):
    time.sleep(1)
    victim.signal(signal.SIGSTOP)
    time.sleep(SESSION_SECONDS + 2)
    victim.signal(signal.SIGCONT)
    return 1


@scenario()
def rolling(suite, seed):
    """Rolling restarts of three instances under load: static members come back to what they had."""
    with suite.stage("rolling", seed, partitions=6) as stage:
        services = [stage.start(name, wait=False) for name in "abc"]
        for one in services:
            one.wait_ready()
        _wait_shares(stage, "abc")
        before = stage.owners()
        load = stage.load(stage.traffic(count=12000))
        rounds = suite.size(1, 20)
        for _ in range(rounds):
            for one in services:
                one.stop()
                one.start()
        load.stop()
        took = stage.settle()
        after = stage.owners()
        stage.probe(load.traffic)
        stage.settle()
        _, told = stage.verify()
        kept = "kept" if before == after else f"moved from {before} to {after}"
        return f"{3 * rounds} restarts, {told['new']} decided, assignment {kept}, caught up after {took:.1f} s"


# ---- Two doors ------------------------------------------------------------------------------------------------------


@scenario()
def doors(suite, seed):
    """The same ids by REST and by Kafka at the same time: one outcome each, and it is the one that was answered."""
    with suite.stage("doors", seed) as stage:
        service = stage.start()
        traffic = stage.traffic(customers=40, mix=CLEAN)
        count = suite.size(400, 4000)
        records = traffic.take(count)
        quarter = count // 4
        # Both orders for certain, whatever the machine is busy with; then the race.
        stage.send(records[:quarter])
        stage.settle()
        _post_all(service, [record["value"] for record in records[: 2 * quarter]], stage.rest)()
        stage.send(records[quarter : 2 * quarter])
        racing = records[2 * quarter :]
        asked = _post_all(service, stage.random.sample(sorted({record["value"] for record in racing}), len(racing)), stage.rest)
        for number, record in enumerate(racing):
            stage.tools.feed.send(record)
            if number % 20 == 0:
                time.sleep(0.02)
        asked()
        # The door answers at once; what it decided comes to the topic by the outbox.
        wait_until(lambda: len(stage.rest) == count, 30, lambda: f"answers: {len(stage.rest)} of {count}")
        stage.settle()
        wait_until(lambda: stage.tools.count(stage.topics["scores"]) >= count, 30, lambda: f"{count} scores; {service.end_of_log()}")
        stage.settle()
        evidence, told = stage.verify(features=False)
        again = sum(1 for answer in stage.rest.values() if answer["evaluation_status"] == "duplicate")
        if not quarter <= again <= count - quarter:
            raise Failure(f"Kafka was first for {again} of {count}, and it had {quarter} for sure, as had REST")
        return f"{count} ids by both doors: Kafka was first {again} times, {len(evidence.outputs['scores'])} scores, all as answered"


@scenario()
def foreign(suite, seed):
    """Two instances, all REST calls to one of them: for what the other owns rules answer, and that answer is binding."""
    with suite.stage("foreign", seed, partitions=4) as stage:
        first, _ = stage.start("a"), stage.start("b")
        _wait_shares(stage, "ab")
        load = stage.load(stage.traffic())
        door = stage.door(first, rate=50, customers=40)
        time.sleep(suite.size(6, 30))
        took, told = stage.finish(load, door)
        elsewhere = [answer for answer in stage.rest.values() if "not_owner" in answer["degraded_reasons"]]
        if not 0 < len(elsewhere) < len(stage.rest):
            raise Failure(f"{len(elsewhere)} of {len(stage.rest)} answers say not_owner, with half of the partitions elsewhere")
        by_model = [answer["transaction_id"] for answer in elsewhere if answer["decision_source"] == "model"]
        if by_model:
            raise Failure(f"a model answered without the features: {by_model[:3]}")
        return f"{len(stage.rest)} answers, {len(elsewhere)} of them for entities of the other, all published as answered"


def _post_all(service, texts, answers, workers=4):
    """Posts from several connections at once; call what it returns to wait for them."""
    import json

    shares = [texts[number::workers] for number in range(workers)]
    faults = []

    def post(share):
        line = Rest(service)
        for text in share:
            body = json.loads(text)
            for _ in range(50):
                status, told = line.post("/v1/decisions", body)
                if status == 200:
                    answers[body["transaction_id"]] = told
                    break
                if status != 409:
                    faults.append(f"{status}: {told}")
                    return
                time.sleep(0.05)
        line.close()

    threads = [threading.Thread(target=post, args=(share,), daemon=True) for share in shares]
    for thread in threads:
        thread.start()

    def wait():
        for thread in threads:
            thread.join(120)
        if faults:
            raise Failure(f"REST answered {faults[0]}")

    return wait
