"""What every part needs: the target, the transactions, the capacity, the faults found."""

import contextlib
import dataclasses
import json
import pathlib
import tempfile
import threading
import time

import harness
from harness import say

# The store rolls its files often, so that the price of rolling is in the figures.
SEGMENT_SIZE = "4MiB"
METRICS_ATTEMPTS = 100


@dataclasses.dataclass
class Run:
    """One load test."""

    target: object
    folder: pathlib.Path
    bodies: harness.Bodies
    quick: bool
    connections: int
    durability: str
    kills: int
    faults: list = dataclasses.field(default_factory=list)
    capacities: dict = dataclasses.field(default_factory=dict)

    @property
    def seconds(self):
        """How long one measured run takes, its warm-up among it."""
        return 6 if self.quick else 15

    @property
    def has_store(self):
        return "state.directory" in self.target.config

    @contextlib.contextmanager
    def server(self, durability=None, settings=None):
        """A fresh server with nothing kept: in memory, or in a store of its own that ends with it."""
        durability = durability or self.durability
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(self.store()) if durability != "memory" else None
            yield stack.enter_context(self.target.serve(self.settings(durability) | (settings or {}), store))

    def settings(self, durability):
        if durability == "memory":
            return {"state.directory": ""} if self.has_store else {}
        return {"state.durability": durability, "state.segment_size": SEGMENT_SIZE}

    @contextlib.contextmanager
    def store(self):
        # Beside the report and not in the system's temporary folder, which may be memory.
        with tempfile.TemporaryDirectory(prefix="store-", dir=self.folder) as folder:
            yield pathlib.Path(folder)

    def load(self, server, rate, **options):
        options = {"seconds": self.seconds, "connections": self.connections} | options
        return harness.load(server, self.bodies, rate, **options)

    def capacity(self, durability=None):
        """Accepted answers per second in a closed loop, measured once for each durability."""
        durability = durability or self.durability
        if durability not in self.capacities:
            say(f"capacity, closed loop, {durability}")
            with self.server(durability) as server:
                self.capacities[durability] = self.load(server, 0)
        return self.capacities[durability]

    def rate(self, share, durability=None):
        return max(1, int(share * self.capacity(durability)["accepted_per_second"]))

    def fault(self, text):
        say(f"  FAULT: {text}")
        self.faults.append(text)


class Memory:
    """Samples a server's resident memory while a block runs."""

    def __init__(self, server, every=0.5):
        self.server, self.every = server, every
        self.samples = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self):
        while not self._done.is_set():
            self.samples.append((time.time(), self.server.resident_mb()))
            self._done.wait(self.every)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def between(self, start, end):
        return [size for at, size in self.samples if start <= at < end and size == size]


def metrics(server):
    """The service's own counters: name and labels as written, to value. At its limit it refuses us too: asked again."""
    for _ in range(METRICS_ATTEMPTS):
        with contextlib.suppress(OSError):
            lines = server.get("/metrics").decode().splitlines()
            break
        time.sleep(0.05)
    else:
        raise SystemExit(f"{server.name} did not show its metrics\n{server.end_of_log()}")
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def grown(before, after, prefix):
    """What grew between two looks at the counters that begin with `prefix`."""
    found = {name: int(after[name] - before.get(name, 0)) for name in after if name.startswith(prefix)}
    return {name: count for name, count in found.items() if count}


def timeline(phases, origin):
    """Joins the time lines of several runs into one, in seconds since `origin`."""
    joined = []
    for name, result in phases:
        for point in result["timeline"]:
            # What came after the last request had left is the drain, and no whole second.
            if point["second"] < round(result["seconds"]):
                joined.append(point | {"phase": name, "at": round(result["started_at"] - origin + point["second"], 2)})
    return joined


def without_timeline(result):
    return {key: value for key, value in result.items() if key != "timeline"}


def ask(connection, method, path, body=None):
    """One request on a kept connection; the status and the JSON, its numbers as text."""
    connection.request(method, path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path}: {answer.status} {content[:500].decode(errors='replace')}")
    return json.loads(content, parse_float=str, parse_int=str)
