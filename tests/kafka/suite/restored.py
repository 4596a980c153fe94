"""Scenarios about state: kept, lost, torn, old, foreign; and a changelog that is not whole."""

import shutil
import time

from suite.kafka import Failure, wait_until
from suite.scenarios import scenario
from suite.traffic import ORDERLY


def shown(service, prefix, customers):
    """What an instance knows of its entities: how many events, the first and the last of each."""
    found = {}
    for customer in range(customers):
        own = f"{prefix}-c{customer}"
        for kind, key in [("customer", own), ("card", f"{own}-k0"), ("card", f"{own}-k1"), ("device", f"{own}-d0"), ("email", f"{own}-e")]:
            view = service.json(f"/v1/entities/{kind}/{key}")
            found[kind, key] = view and (view["events"], view.get("first"), view.get("last"))
    return found


def wait_same(service, prefix, customers, before, how, within=20):
    """Waits until an instance knows of every entity what it knew before."""
    if not any(before.values()):
        raise Failure("no entity was there to compare")
    after = {}

    def same():
        after.update(shown(service, prefix, customers))
        return after == before

    def told():
        differ = [key for key in before if before[key] != after[key]]
        return f"the same state after a restart with the store {how}: {len(differ)} of {len(before)} entities differ, such as {differ[0]}: {before[differ[0]]} before, {after[differ[0]]} after; {service.end_of_log()}"

    wait_until(same, within, told, every=0.2)


@scenario()
def restored(suite, seed):
    """The same state after every kind of restart: store kept, lost, torn at its end, put back from earlier."""
    with suite.stage("restored", seed) as stage:
        service = stage.start()
        traffic = stage.traffic(customers=30)
        told, times = None, {}
        old = stage.folder / "old"

        def kept():
            pass

        def lost():
            shutil.rmtree(service.store)

        def torn():
            for log in ("events", "ledger"):
                newest = max((service.store / log).glob("*.seg"))
                with open(newest, "r+b") as segment:
                    segment.truncate(newest.stat().st_size - 37)

        def put_back():
            shutil.rmtree(service.store)
            shutil.copytree(old, service.store)

        for change in [kept, lost, torn, put_back, lost]:
            if change is torn:
                # What is put back later is of now, with more decided in between.
                service.stop()
                shutil.copytree(service.store, old)
                service.start()
            stage.send(traffic.take(suite.size(300, 5000)))
            stage.send([traffic.label(body) for body in traffic.valid[-20:]])
            stage.settle()
            before = shown(service, stage.prefix, traffic.customers)
            service.stop()
            change()
            began = time.monotonic()
            service.start()
            times[change.__name__] = time.monotonic() - began
            wait_same(service, stage.prefix, traffic.customers, before, change.__name__)
            stage.probe(traffic, customers=10)
            stage.settle()
            _, told = stage.verify()
        return f"{len(times)} restarts, {told['features']} vectors equal; to ready: " + ", ".join(f"{name} {took:.1f} s" for name, took in times.items())


@scenario()
def lost_state(suite, seed):
    """A changelog cut off at its beginning and no store: it says so and decides nothing; told to go on, it goes on."""
    with suite.stage("lost_state", seed) as stage:
        service = stage.start()
        traffic = stage.traffic(mix=ORDERLY)
        stage.send(traffic.take(600))
        stage.settle()
        service.stop()
        shutil.rmtree(service.store)
        state = stage.topics["state"]
        ends = stage.tools.admin.ask("ends", topics=[state])
        for partition in range(stage.partitions):
            end = ends[f"{state}/{partition}"]
            stage.tools.admin.ask("truncate", topic=state, partition=partition, before=end["begin"] + (end["end"] - end["begin"]) // 2)
        committed = stage.committed()
        service.start(wait=False)
        stage.send(traffic.take(100))
        expect_stop(stage, service, "changelog")
        if stage.committed() != committed:
            raise Failure(f"it decided on without its state: {committed} and then {stage.committed()}")
        said = service.get("/readyz")[1]
        service.end()
        service.settings |= {"kafka.on_lost_state": "continue"}
        service.start()
        stage.settle()
        return f"refused: {said[:120].strip()}; continued when told to"


@scenario()
def ahead(suite, seed):
    """A store that knows more than the group has committed, as when offsets are reset: it says so and decides nothing."""
    with suite.stage("ahead", seed) as stage:
        service = stage.start()
        traffic = stage.traffic(mix=ORDERLY)
        stage.send(traffic.take(300))
        stage.settle()
        scores = len(stage.evidence(is_final=False).outputs["scores"])
        service.stop()
        wait_until(lambda: not stage.owners(), 30, "the group to be empty")
        # The sampler would call it what it is: offsets that went back.
        stage.sampler.stop()
        stage.tools.admin.ask("forget", group=stage.group)
        service.start(wait=False)
        stage.send(traffic.take(50))
        expect_stop(stage, service, "committed nothing")
        again = len(stage.evidence(is_final=False).outputs["scores"]) - scores
        if again:
            raise Failure(f"it decided {again} that it had decided before")
        return f"refused: {service.get('/readyz')[1][:120].strip()}"


def expect_stop(stage, service, word):
    """Waits until an instance says, in /readyz or its log, that it will not go on, and why."""

    def says():
        if not service.runs:
            raise Failure(f"it ended with {service.process.returncode} instead of saying so; {service.end_of_log()}")
        status, text = service.get("/readyz")
        return status == 503 and word in text.lower() + " " * service.said(word)

    wait_until(says, 30, lambda: f"a word on {word!r}: {service.get('/readyz')}, lag {stage.lag()}; {service.end_of_log()}")
