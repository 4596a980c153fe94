"""A cluster of our own and the three Java programs that speak to it: all of Kafka as the suite knows it.

Nothing here goes through the client that fraudd uses: what the suite writes, reads and asks goes through Apache's own.
"""

import collections
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
JAVA = pathlib.Path(__file__).resolve().parent.parent / "java"
ANSWER_WITHIN = 100
CLOSE_WITHIN = 20
ERROR_LINES_MAX = 40


class Unavailable(Exception):
    """What this machine lacks to run a broker."""


class Failure(Exception):
    """Something that the suite rests on did not work; told with what it said."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def wait_until(holds, within, what, every=0.05):
    """Waits for a condition and returns what it gave; a wait that ends without it is a failure."""
    deadline = time.monotonic() + within
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failure(f"not within {within} s: {what() if callable(what) else what}")
        time.sleep(every)


def script(*words, timeout=240):
    """Runs scripts/kafka and returns what it printed."""
    command = [sys.executable, str(ROOT / "scripts/kafka"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise Failure(f"scripts/kafka {' '.join(map(str, words))}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def jars():
    """The folder of the broker's jars, fetched when it is not there."""
    if not shutil.which("java"):
        raise Unavailable("no java here (Debian: apt-get install default-jre-headless)")
    try:
        return script("fetch", timeout=600)
    except Failure as fault:
        if "mvn" in str(fault) or "Maven" in str(fault):
            raise Unavailable(str(fault)) from fault
        raise


class Cluster:
    """One to five nodes that end with this process; a context manager."""

    def __init__(self, folder, nodes=1, options=()):
        self.folder = pathlib.Path(folder)
        self.nodes = nodes
        began = time.monotonic()
        told = script("start", "--dir", self.folder, "--nodes", nodes, "--owner-pid", os.getpid(), *options)
        self.told = json.loads(told.splitlines()[-1])
        self.ready_after = time.monotonic() - began
        # Past a proxy, past passwords: what the suite itself uses.
        self.direct = self.told["direct"]
        self.bootstrap = self.told["bootstrap"]

    def node(self, do, index=1):
        script("node", do, index, "--dir", self.folder)

    def acl(self, *words):
        script("acl", "--dir", self.folder, *words)

    def ports(self):
        return [node["port"] for node in self.told["nodes"]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        script("delete", "--dir", self.folder)


class Tool:
    """One Java program, kept alive: JSON lines in, JSON lines out."""

    def __init__(self, program, *arguments):
        self.name = program
        command = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{jars()}/*"]
        command += [str(JAVA / f"{program}.java"), *arguments]
        quiet = {**os.environ, "JDK_JAVA_OPTIONS": "-Dslf4j.internal.verbosity=ERROR"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=quiet, start_new_session=True
        )
        self.lines = queue.Queue()
        self.errors = collections.deque(maxlen=ERROR_LINES_MAX)
        self.asking = threading.Lock()
        threading.Thread(target=self._hear, daemon=True).start()
        threading.Thread(target=self._hear_errors, daemon=True).start()

    def _hear(self):
        for line in self.process.stdout:
            self.heard(line)
        self.heard(b"")

    def _hear_errors(self):
        for line in self.process.stderr:
            self.errors.append(line.decode(errors="replace").rstrip())

    def heard(self, line):
        self.lines.put(line)

    def tell(self, value):
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()

    def line(self, within=ANSWER_WITHIN):
        try:
            line = self.lines.get(timeout=within)
        except queue.Empty:
            raise Failure(f"{self.name} did not answer within {within} s; it said {list(self.errors)}") from None
        if not line:
            raise Failure(f"{self.name} ended; it said {list(self.errors)}")
        value = json.loads(line)
        if "error" in value and "n" not in value:
            raise Failure(f"{self.name}: {value['error']}")
        return value

    def close(self):
        # A program whose broker is gone reads no more: closing its input would wait for whoever still writes into it.
        late = threading.Timer(CLOSE_WITHIN, self.process.kill)
        late.start()
        try:
            if self.process.poll() is None:
                self.process.stdin.close()
                self.process.wait()
        except OSError:
            self.process.wait()
        finally:
            late.cancel()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Admin(Tool):
    """Group.java: committed offsets, members, ends, open transactions; topics made, changed, truncated."""

    def __init__(self, bootstrap, *settings):
        super().__init__("Group", bootstrap, *settings)

    def ask(self, do, **more):
        with self.asking:
            self.tell({"do": do, **more})
            return self.line()


Record = collections.namedtuple("Record", "topic partition offset timestamp key value headers length sha256")
Record.__doc__ = "A record as it was read; key and value are bytes or None, headers a list of pairs of texts."


class Reader(Tool):
    """Reader.java: topics to their end, each call going on where the last one ended."""

    def __init__(self, bootstrap):
        super().__init__("Reader", bootstrap)

    def read(self, topics, isolation="read_committed"):
        """Returns the records that came since the last call and the positions reached, by `topic/partition`."""
        found = []
        with self.asking:
            self.tell({"topics": list(topics), "isolation": isolation})
            while True:
                line = self.line()
                if "end" in line:
                    return found, line["end"]
                found.append(_record(line))


def _record(line):
    import base64

    def bytes_of(name):
        if name in line:
            return line[name].encode()
        return base64.b64decode(line[name + "b"]) if name + "b" in line else None

    value = bytes_of("v")
    length = line.get("vlen", None if value is None else len(value))
    headers = [tuple(pair) for pair in line["h"]]
    return Record(line["t"], line["p"], line["o"], line["ts"], bytes_of("k"), value, headers, length, line.get("vsha"))


class Feed(Tool):
    """Feed.java: writes records without waiting, and knows where each went."""

    def __init__(self, bootstrap, *settings):
        self.sent, self.answered, self.faults = 0, 0, []
        self.acked = threading.Condition()
        super().__init__("Feed", bootstrap, *settings)

    def heard(self, line):
        value = json.loads(line) if line else {"flushed": None}
        if "n" not in value:
            self.lines.put(line)
            return
        with self.acked:
            self.answered += 1
            if "error" in value:
                self.faults.append(value["error"])

    def send(self, record):
        with self.asking:
            self.tell(record)
            self.sent += 1

    def flush(self, within=ANSWER_WITHIN):
        """Waits until the broker has everything sent so far."""
        with self.asking:
            self.tell({"do": "flush"})
            self.line(within)
        if self.faults:
            raise Failure(f"the broker did not take {len(self.faults)} records: {self.faults[0]}")
