"""Scenarios in which brokers die, move and come back."""

import contextlib
import time

from suite.kafka import Failure
from suite.scenarios import scenario


@scenario()
def broker_killed(suite, seed):
    """The only broker dies (kill -9) under load and comes back, several times."""
    with suite.stage("broker_killed", seed) as stage:
        service = stage.start()
        load = stage.load(stage.traffic())
        door = stage.door(service)
        rounds = suite.size(2, 8)
        for _ in range(rounds):
            time.sleep(stage.random.uniform(1, 2))
            with back(stage.cluster):
                stage.cluster.node("kill")
                time.sleep(stage.random.uniform(0.5, 3))
        took, told = stage.finish(load, door)
        return f"{rounds} deaths of the broker, {told['new']} decided, {door.broken} REST calls broken, caught up after {took:.1f} s"


@scenario()
def broker_away(suite, seed):
    """All brokers away: REST goes on as if nothing were; its decisions come to the topic afterwards, once each."""
    with suite.stage("broker_away", seed) as stage:
        service = stage.start()
        load = stage.load(stage.traffic(), rate=100)
        door = stage.door(service, rate=50)
        seconds = suite.size(10, 30)
        time.sleep(1)
        with back(stage.cluster):
            stage.cluster.node("kill")
            before, began = len(stage.rest), time.monotonic()
            time.sleep(seconds)
            meanwhile, slowest = len(stage.rest) - before, door.slowest
            waiting = service.metric("fraudd_outbox_waiting")
        if meanwhile < 20 * (time.monotonic() - began) / 2:
            raise Failure(f"REST answered only {meanwhile} in {seconds} s without a broker, the slowest after {slowest:.2f} s; {service.end_of_log()}")
        took, told = stage.finish(load, door)
        if door.broken:
            raise Failure(f"{door.broken} REST calls were refused or broken")
        return f"{seconds} s away: {meanwhile} answered by REST (slowest {slowest * 1000:.0f} ms, outbox {waiting}), {told['new']} decided, caught up after {took:.1f} s"


@contextlib.contextmanager
def back(cluster, index=1):
    """Brings a node back, whatever happened in between."""
    try:
        yield
    finally:
        cluster.node("start", index)


@contextlib.contextmanager
def all_back(cluster, indices):
    """Brings nodes back one after the other; the first cannot serve before a second makes a quorum, so all are begun first."""
    try:
        yield
    finally:
        for index in indices:
            cluster.node("launch", index)
            time.sleep(2)
        for index in indices:
            cluster.node("start", index)


@scenario(short=False, nodes=3)
def three_nodes(suite, seed):
    """Three nodes: whoever leads, coordinates the group or the transactions dies in turn and comes back."""
    with suite.stage("three_nodes", seed, cluster=suite.cluster(3), partitions=6) as stage:
        services = [stage.start("a"), stage.start("b")]
        load = stage.load(stage.traffic(count=20000))
        door = stage.door(services[0])
        moved = []
        for role in ["leader", "group", "transactions"] * suite.size(1, 4):
            time.sleep(2)
            victim = _who(stage, role)
            with back(stage.cluster, victim):
                stage.cluster.node("kill", victim)
                time.sleep(stage.random.uniform(1, 6))
            moved.append(f"{role} {victim}")
        took, told = stage.finish(load, door, within=45)
        return f"killed {', '.join(moved)}; {told['new']} decided, caught up after {took:.1f} s"


def _who(stage, role):
    """The node that has a role just now."""
    admin = stage.tools.admin
    if role == "leader":
        leaders = admin.ask("leaders", topics=[stage.topics["transactions"]])
        return leaders[sorted(leaders)[0]]
    if role == "group":
        return admin.ask("members", group=stage.group)["coordinator"]
    return admin.ask("transaction_coordinator", id=f"{stage.group}-a-0")["coordinator"]


@scenario(short=False, nodes=3)
def all_nodes_away(suite, seed):
    """All three nodes die at once, stay away for 30 s, and come back one after the other."""
    with suite.stage("all_nodes_away", seed, cluster=suite.cluster(3), partitions=6) as stage:
        service = stage.start()
        load = stage.load(stage.traffic(), rate=100)
        door = stage.door(service, rate=50)
        time.sleep(2)
        with all_back(stage.cluster, (1, 2, 3)):
            for index in (1, 2, 3):
                stage.cluster.node("kill", index)
            before = len(stage.rest)
            time.sleep(30)
            meanwhile = len(stage.rest) - before
        took, told = stage.finish(load, door, within=60)
        return f"{meanwhile} answered by REST in 30 s, {told['new']} decided, caught up after {took:.1f} s"
