"""The workers that are compared: how each is started on given topics.

All get the same batch bound and the same linger; what a worker cannot set is told in its `note`.
"""

import os
import pathlib
import shutil
import socket

from rig import ROOT

PEERS = ROOT / "loadtest/peers/kafka"
ROWS_MAX = 512


class Run:
    """A worker on its topics, with a folder for its local state."""

    def __init__(self, rig, worker, topics, linger_ms):
        self.rig, self.worker, self.topics, self.linger_ms = rig, worker, topics, linger_ms
        self.folder = rig.folder / topics.prefix
        self.folder.mkdir(exist_ok=True)
        self.log = rig.folder / f"{topics.prefix}.log"
        self.process = None

    def start(self):
        command, env = self.worker.command(self)
        self.process = self.rig.spawn(command, self.log, env)
        return self.process

    def lose_state(self):
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.rig.forget(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.rig.remove(self.topics, self.worker.internal(self.topics))


class Worker:
    """One way to do the work."""

    name, title, decides, keeps_state, note = "", "", True, False, ""
    # A setting that only throughput is asked of.
    drains_only = False

    def command(self, run):
        raise NotImplementedError

    def internal(self, topics):
        """Topics it makes by itself."""
        return ()

    def options(self, run, *roles):
        words = ["--bootstrap", run.rig.bootstrap, "--group", run.topics.prefix, "--input", run.topics["transactions"]]
        for role in roles:
            words += [f"--{role}", run.topics[role]]
        return [*words, "--rows-max", ROWS_MAX, "--linger-ms", run.linger_ms]


class Copy(Worker):
    name, title, decides = "copy", "bare copy loop (rdkafka)", False
    note = "the limit: the same outputs, nothing decided"

    def __init__(self):
        self.profile = None

    def command(self, run):
        command = [run.rig.kafkabench, *self.options(run, "scores", "alerts", "features", "state"), "--profile", self.profile]
        return [command[0], "copy", *command[1:]], None


class Fraudd(Worker):
    name, title, keeps_state = "fraudd", "fraudd", True
    note = "as shipped, one lane; linger_min = linger_max = the linger; every event of an entity is kept, as peers do"

    def __init__(self, binary):
        self.binary = pathlib.Path(binary).resolve()

    def command(self, run):
        settings = {
            "kafka.bootstrap_servers": run.rig.bootstrap,
            "kafka.group": run.topics.prefix,
            "kafka.instance": "bench",
            "kafka.batch_max": ROWS_MAX,
            "kafka.linger_min": f"{run.linger_ms}ms",
            "kafka.linger_max": f"{run.linger_ms}ms",
            "state.directory": run.folder / "state",
            # The peers keep every event of an entity; as shipped the newest 4,096 are kept, and busy BINs have more.
            "entities.events_per_entity_max": 1_000_000,
            "telemetry.log.filter": "warn",
        }
        settings |= {f"kafka.topics.{role}": name for role, name in run.topics.names.items()}
        env = {f"FRAUDD__{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return [self.binary, "serve", "--config", "config/run.toml", "--listen", f"127.0.0.1:{port}"], env


class Confluent(Worker):
    name, title = "confluent", "confluent-kafka (Python) + onnxruntime"
    note = "a transaction loop by hand, one inference a batch; its state is in memory, from its changelog"

    def command(self, run):
        python = ROOT / ".deps/peers-confluent/bin/python"
        return [python, PEERS / "confluent/worker.py", *self.options(run, "scores", "alerts", "dead", "state")], None


class Quix(Worker):
    name, title, keeps_state = "quix", "quixstreams exactly-once + onnxruntime", True
    note = "commit_every = the batch bound, commit_interval = the linger; one inference a record"

    def command(self, run):
        python = ROOT / ".deps/peers-quix/bin/python"
        command = [python, PEERS / "quix/worker.py", *self.options(run, "scores", "alerts", "dead"), "--state-dir", run.folder / "rocksdb"]
        return command, {"PYTHONUNBUFFERED": "1"}

    def internal(self, topics):
        return (f"changelog__{topics.prefix}--{topics['transactions']}--default",)


class Streams(Worker):
    name, title = "streams", "Kafka Streams exactly_once_v2 + onnxruntime (Java)"
    note = "commit.interval.ms = linger.ms = poll.ms = the linger; one inference a record; store in memory, with its changelog"

    def command(self, run):
        jars = ROOT / ".deps/peers-streams"
        java = os.path.join(os.environ["JAVA_HOME"], "bin/java") if os.environ.get("JAVA_HOME") else "java"
        command = [java, "-Xms256m", "-Xmx2g", "-XX:+UseSerialGC", "-cp", f"{jars}/classes:{jars}/libs/*", "peer.Worker"]
        command += [*self.options(run, "scores", "alerts", "dead"), "--state-dir", run.folder / "streams"]
        command += ["--bundle", ROOT / "models/card-fraud/1.0.0", "--rules", ROOT / "config/rules.toml"]
        return command, None

    def internal(self, topics):
        return (f"{topics.prefix}-events-changelog",)


class QuixSlow(Quix):
    """quixstreams with an interval in which its transactions fill."""

    name, title, drains_only = "quix-100ms", "quixstreams, commit_interval 100 ms", True
    note = "commit_every = the batch bound, commit_interval = 100 ms (its default is 5 s)"

    def options(self, run, *roles):
        return [*super().options(run, *roles)[:-1], 100]


class StreamsSlow(Streams):
    """Kafka Streams with the interval its authors chose."""

    name, title, drains_only = "streams-100ms", "Kafka Streams, its default commit interval", True
    note = "commit.interval.ms = linger.ms = 100, the defaults of exactly_once_v2"

    def options(self, run, *roles):
        return [*super().options(run, *roles)[:-1], 100]


def catalogue(fraudd):
    """Every worker by name, in the order of a round."""
    return {worker.name: worker for worker in (Copy(), Fraudd(fraudd), Confluent(), Quix(), QuixSlow(), Streams(), StreamsSlow())}
