"""Scenarios in which the broker says no: each must end in one clear sentence, and in nothing decided."""

import contextlib
import time

from suite.kafka import Cluster, Failure, wait_until
from suite.scenarios import scenario
from suite.traffic import ORDERLY

USER, PASSWORD = "fraudd", "fraudd-secret"


@scenario()
def unknown_topic(suite, seed):
    """A topic that is not there: the start says which, and how to make it."""
    with suite.stage("unknown_topic", seed) as stage:
        gone = stage.topics["scores"]
        stage.tools.admin.ask("delete", topics=[gone])
        service = stage.service("a")
        said = refused(service, gone)
        return f"said: {said}"


@scenario()
def more_partitions(suite, seed):
    """A topic that got more partitions: keys lie elsewhere now, and no state is where it belongs; the start is refused."""
    with suite.stage("more_partitions", seed) as stage:
        service = stage.start()
        stage.send(stage.traffic(mix=ORDERLY).take(100))
        stage.settle()
        service.stop()
        for name in ("transactions", "labels", "scores", "alerts", "features", "dead", "late", "state"):
            stage.tools.admin.ask("grow", topic=stage.topics[name], partitions=stage.partitions + 2)
        said = refused(service, "state here was kept for")
        if service.process.returncode in (0, None, -9):
            raise Failure(f"it did not end by itself: {service.process.returncode}; {said}")
        return f"said: {said}"


@scenario()
def refusals(suite, seed):
    """Wrong credentials, and a user who may not: a clear sentence each; once allowed, everything is decided."""
    users = suite.folder / "users"
    users.write_text(f"{USER}:{PASSWORD}\n")
    cluster = Cluster(suite.folder / "kafka-secure", options=["--secure", "--users", str(users)])
    login = {"kafka.security.protocol": "sasl_plaintext", "kafka.security.username": USER, "kafka.security.password": PASSWORD}
    try:
        admin = login | {"kafka.security.username": "admin", "kafka.security.password": "admin-secret"}
        with suite.stage("refusals", seed, cluster=cluster, settings=admin) as stage:
            wrong = refused(stage.service("a", login | {"kafka.security.password": "guessed"}), "uthenticat")
            # May read and describe everything, but not write in transactions.
            topics = ["--topic", "*"]
            cluster.acl("--user", USER, "--operation", "Read", "--operation", "Describe", *topics)
            cluster.acl("--user", USER, "--operation", "Read", "--group", "*")
            allowed = stage.service("b", login)
            denied = refused(allowed, "uthori")
            cluster.acl("--user", USER, "--operation", "Write", "--operation", "DescribeConfigs", *topics)
            cluster.acl("--user", USER, "--operation", "Write", "--operation", "Describe", "--transactional-id", "*")
            cluster.acl("--user", USER, "--operation", "IdempotentWrite", "--operation", "Describe", "--cluster")
            if not allowed.runs:
                allowed.start(wait=False)
            allowed.wait_ready()
            stage.send(stage.traffic().take(200))
            stage.settle()
            _, told = stage.verify()
            return f"wrong password: {wrong} | not allowed: {denied} | then {told['new']} decided"
    finally:
        suite.drop(cluster)


def refused(service, word, within=30):
    """Starts an instance that cannot work; returns the line that says why."""
    service.start(wait=False)

    def why():
        with contextlib.suppress(OSError):
            now = service.log.read_text(errors="replace").rpartition("---- start")[2].splitlines()[1:]
            return next((line for line in now if word in line), None)
        return None

    line = wait_until(why, within, lambda: f"a line with {word!r}; {service.end_of_log()}")
    deadline = time.monotonic() + 3
    while service.runs and time.monotonic() < deadline:
        if service.get("/readyz")[0] == 200:
            raise Failure(f"it calls itself ready although {line}")
        time.sleep(0.1)
    service.end()
    return line[-200:]
