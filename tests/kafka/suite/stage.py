"""What a scenario plays on: topics and a group of its own, instances of fraudd, traffic, and the judgement at the end."""

import contextlib
import itertools
import json
import pathlib
import random
import threading
import time

from suite import verifier
from suite.kafka import ROOT, Failure, say, wait_until
from suite.service import Rest, Service
from suite.traffic import Traffic, micros_now

SCHEMA = ROOT / "models/schemas/card-fraud.toml"
TOPICS = ["transactions", "labels", "scores", "alerts", "features", "dead", "late", "state", "control", "audit", "retrain"]
INPUTS = ["transactions", "labels"]
OUTPUTS = ["scores", "alerts", "features", "dead", "late", "state"]
SESSION_SECONDS = 6
TRANSACTION_SECONDS = 10
# Within this of the last fault the stream must have caught up (liveness).
SETTLE_WITHIN = 30
SAMPLE_EVERY = 0.15
GROUP_KEY = "0123456789abcdef0123456789abcdef"


class Load(threading.Thread):
    """Sends traffic at a rate until it is stopped; a fault of it is raised where it is joined."""

    def __init__(self, feed, traffic, rate, labels=0.05, loose_labels=False):
        super().__init__(daemon=True)
        self.feed, self.traffic, self.rate = feed, traffic, rate
        self.labels, self.loose_labels = labels, loose_labels
        self.over, self.fault, self.sent = threading.Event(), None, 0
        self.pick = random.Random(traffic.random.random())

    def run(self):
        try:
            began = time.monotonic()
            while not self.over.is_set():
                due = int((time.monotonic() - began) * self.rate) - self.sent
                for _ in range(due):
                    self.feed.send(self.traffic.next())
                    self.sent += 1
                    if self.traffic.valid and self.pick.random() < self.labels:
                        self.feed.send(self._label())
                self.over.wait(0.01)
        except Exception as fault:  # noqa: BLE001 - it is raised again by stop()
            self.fault = fault

    def _label(self):
        if self.pick.random() < 0.03:
            return self.traffic.bad_label()
        body = self.pick.choice(self.traffic.valid[-100:])
        has_key = not (self.loose_labels and self.pick.random() < 0.2)
        return self.traffic.label(body, self.pick.choice(["fraud", "fraud", "legitimate"]), key=has_key)

    def stop(self):
        self.over.set()
        self.join(60)
        if self.fault:
            raise self.fault
        self.feed.flush()
        return self.sent


class Door(threading.Thread):
    """Posts transactions over REST one after the other, each until it is answered; remembers every first answer."""

    def __init__(self, service, traffic, rate, answers):
        super().__init__(daemon=True)
        self.line, self.traffic, self.rate, self.answers = Rest(service), traffic, rate, answers
        self.over, self.fault, self.broken, self.slowest = threading.Event(), None, 0, 0.0
        # Held while a question is open: whoever takes it knows that every question has its answer, and that none is asked.
        self.turn = threading.Lock()

    def run(self):
        try:
            while not self.over.is_set():
                self.traffic.number += 1
                customer = self.traffic.random.randrange(self.traffic.customers)
                with self.turn:
                    self._ask(self.traffic.body(customer, micros_now()))
                self.over.wait(1 / self.rate)
        except Exception as fault:  # noqa: BLE001 - it is raised again by stop()
            self.fault = fault

    def _ask(self, body):
        while True:
            began = time.monotonic()
            status, told = self.line.post("/v1/decisions", body)
            if status == 200:
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.answers[body["transaction_id"]] = told
                return
            if status not in (0, 409, 429, 503):
                raise Failure(f"REST answered {status}: {told}")
            self.broken += 1
            if self.over.wait(0.1):
                # Not answered: it may have been decided or not, and nothing is promised.
                return

    def stop(self):
        self.over.set()
        self.join(60)
        self.line.close()
        if self.fault:
            raise self.fault
        return len(self.answers)


class Sampler(threading.Thread):
    """Looks at the committed offsets several times a second, as long as the broker can be asked."""

    def __init__(self, admin, group):
        super().__init__(daemon=True)
        self.admin, self.group, self.samples, self.over = admin, group, [], threading.Event()

    def run(self):
        while not self.over.wait(SAMPLE_EVERY):
            with contextlib.suppress(Failure):
                self.samples.append(self.admin.ask("committed", group=self.group))

    def stop(self):
        self.over.set()
        self.join(60)
        return self.samples


class Stage:
    """Everything of one scenario; a context manager that leaves no process behind."""

    numbers = itertools.count(1)

    def __init__(self, suite, name, cluster, seed, partitions=3, settings=None, bootstrap=None):
        self.suite, self.name, self.cluster, self.seed = suite, name, cluster, seed
        self.partitions, self.bootstrap = partitions, bootstrap or cluster.bootstrap
        self.prefix = f"{name}-{next(Stage.numbers)}"
        self.folder = suite.folder / self.prefix
        self.topics = {topic: f"{self.prefix}.{topic}" for topic in TOPICS}
        self.group = self.prefix
        self.settings = settings or {}
        self.services, self.rest, self.notes = [], {}, []
        self.random = random.Random(seed)
        self.tools = suite.tools(cluster)
        self.sampler = Sampler(self.tools.watcher, self.group)

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        maker = self.service("maker")
        self.services.remove(maker)
        replicas = min(3, self.cluster.nodes)
        code, told = maker.command("topics", "create", "--partitions", str(self.partitions), "--replication", str(replicas), timeout=120)
        if code != 0:
            raise Failure(f"fraudd topics create: {told}")
        self.sampler.start()
        return self

    def __exit__(self, *_):
        for service in self.services:
            service.end()
        self.sampler.stop()

    def note(self, text):
        self.notes.append(text)
        say(f"    {text}")

    # ---- Instances

    def service(self, instance, settings=None):
        base = {f"kafka.topics.{name}": topic for name, topic in self.topics.items()} | {
            "kafka.bootstrap_servers": self.bootstrap,
            "kafka.group": self.group,
            "kafka.session_timeout": f"{SESSION_SECONDS}s",
            "kafka.transaction_timeout": f"{TRANSACTION_SECONDS}s",
            "kafka.drain_timeout": "5s",
            "kafka.hmac_key": GROUP_KEY,
            "kafka.features": True,
        }
        made = Service(self.suite.binary, self.folder / instance, instance, base | self.settings | (settings or {}))
        self.services.append(made)
        return made

    def start(self, instance="a", settings=None, **options):
        return self.service(instance, settings).start(**options)

    # ---- Traffic

    def traffic(self, **options):
        # In the long form more customers share what comes: the oracle looks at all events of one again and again.
        options = {"prefix": self.prefix, "customers": self.suite.size(60, 2000), **options}
        return Traffic(self.seed, self.topics, self.partitions, **options)

    def load(self, traffic, rate=None, **options):
        made = Load(self.tools.feed, traffic, rate or self.suite.rate, **options)
        made.start()
        return made

    def send(self, records):
        for record in records:
            self.tools.feed.send(record)
        self.tools.feed.flush()

    def probe(self, traffic, customers=None):
        """One transaction of now for each customer: it sees every event and label of theirs."""
        records = []
        for customer in range(traffic.customers if customers is None else customers):
            traffic.number += 1
            records.append(traffic.record(traffic.body(customer, micros_now()), "valid"))
        self.send(records)

    def door(self, service, rate=20, customers=20):
        """REST traffic of customers of its own."""
        made = Door(service, self.traffic(prefix=f"{self.prefix}-r", customers=customers), rate, self.rest)
        made.start()
        return made

    # ---- Waiting

    def committed(self):
        return self.tools.admin.ask("committed", group=self.group)

    def lag(self):
        """Records not yet committed, by partition; those without any are left out."""
        ends = self.tools.admin.ask("ends", topics=[self.topics[name] for name in INPUTS])
        committed = self.committed()
        lags = {name: end["stable"] - committed.get(name, [end["begin"]])[0] for name, end in ends.items()}
        return {name: lag for name, lag in lags.items() if lag}

    def settle(self, within=SETTLE_WITHIN):
        """Waits until everything is decided and committed; returns how long that took."""
        self.tools.feed.flush()
        began = time.monotonic()
        last = {}

        def done():
            with contextlib.suppress(Failure):
                last.clear()
                last.update(self.lag())
                return not last
            return False

        wait_until(done, within, lambda: f"the lag to go: {last}; {self._states()}", every=0.1)
        return time.monotonic() - began

    def _states(self):
        owners = "nobody can say"
        with contextlib.suppress(Failure):
            owners = self.owners()
        return f"owners {owners}; " + "; ".join(f"{one.instance}: {one.get('/readyz')[1][:200] if one.runs else 'ended'}, {one.end_of_log(6)}" for one in self.services)

    def owners(self):
        """Which instance has which partitions of the input, as the coordinator knows it."""
        members = self.tools.admin.ask("members", group=self.group)["members"]
        prefix = self.topics["transactions"] + "/"
        mine = lambda one: sorted(int(name.rpartition("/")[2]) for name in one["partitions"] if name.startswith(prefix))
        return {one["instance"]: mine(one) for one in members}

    def wait_published(self, within=SETTLE_WITHIN):
        """Waits until every answer of REST has come back by the topic."""
        missing = []

        def none():
            scores = self.evidence(is_final=False).outputs["scores"]
            published = b"\n".join(record.value or b"" for record in scores)
            owed = [name for name, answer in self.rest.items() if "not_recorded" not in answer["degraded_reasons"]]
            missing[:] = [name for name in owed if f'"{name}"'.encode() not in published]
            return not missing

        wait_until(none, within, lambda: f"answers of REST to be published: {len(missing)} are not, such as {missing[:3]}; {self._states()}", every=0.3)

    def finish(self, load, door=None, within=SETTLE_WITHIN):
        """Ends the load, waits until all is decided, asks every customer once more, and judges; returns seconds and counts."""
        if door:
            door.stop()
        load.stop()
        took = self.settle(within)
        if door:
            self.wait_published()
            self.probe(door.traffic)
        self.probe(load.traffic)
        self.settle()
        return took, self.verify()[1]

    # ---- Judgement

    def evidence(self, is_final=True):
        """Reads everything there is, as committed."""
        found = {name: [] for name in [*INPUTS, *OUTPUTS]}
        names = {topic: name for name, topic in self.topics.items()}
        records, _ = self.tools.reader.read([self.topics[name] for name in found])
        self.suite.remember(self.prefix, records)
        for record in self.suite.remembered(self.prefix):
            found[names[record.topic]].append(record)
        for log in found.values():
            log.sort(key=lambda one: (one.partition, one.offset))
        ends, still_open = self._hanging([self.topics[name] for name in OUTPUTS]) if is_final else ({}, {})
        return verifier.Evidence(
            partitions=self.partitions,
            transactions=found["transactions"],
            labels=found["labels"],
            outputs={name: found[name] for name in OUTPUTS},
            committed=self.committed(),
            samples=list(self.sampler.samples),
            ends=ends,
            open=still_open,
            rest=self.rest,
            topics=self.topics,
        )

    def _hanging(self, topics):
        """Ends and open transactions, looked at until nothing is open or every transaction has had its time."""
        deadline = time.monotonic() + TRANSACTION_SECONDS + 3
        while True:
            ends, told = self.tools.admin.ask("ends", topics=topics), self.tools.admin.ask("transactions", topics=topics)
            told["open"] = [one for one in told["open"] if one["id"].startswith(self.group + "-")]
            quiet = not told["open"] and not told["producers"] and all(end["stable"] == end["end"] for end in ends.values())
            if quiet or time.monotonic() > deadline:
                return ends, told
            time.sleep(0.3)

    def verify(self, kinds=None, features=True):
        """Judges the run so far; findings are a failure."""
        began = time.monotonic()
        evidence = self.evidence()
        read_in = time.monotonic() - began
        arguments = {"kinds": kinds} if kinds else {}
        findings, told = verifier.verify(evidence, SCHEMA if features and not self.suite.is_blind else None, **arguments)
        self.note(f"verified in {time.monotonic() - began:.1f} s ({read_in:.1f} s reading): {json.dumps(told)}, {len(evidence.samples)} samples")
        if findings:
            path = pathlib.Path(self.folder / "findings.json")
            path.write_text(json.dumps({"counts": findings.counts, "examples": findings.examples}, indent=1, default=str))
            raise Wrong(findings)
        return evidence, told


class Wrong(Failure):
    """A judgement with findings."""

    def __init__(self, findings):
        super().__init__("; ".join(findings.lines()))
        self.findings = findings
