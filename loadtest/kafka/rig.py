"""What every part of the Kafka benchmark stands on: one broker, the tool `kafkabench`, topics, workers' processes.

Everything that was started is ended with the rig, in whatever way it ends; the broker also goes by itself when we do.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STOP_WITHIN = 15
PARTITIONS = 4
OUTPUTS = ("scores", "alerts", "features", "dead", "late", "state", "labels")
# fraudd asks for them; nothing is written there by a run.
APART = ("control", "audit", "retrain")


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failure(Exception):
    """A part of the run that did not come off, with what is known of it."""


class Rig:
    """The broker and all processes beside it."""

    def __init__(self, kafkabench, broker_heap="1g"):
        self.kafkabench, self.broker_heap = pathlib.Path(kafkabench).resolve(), broker_heap
        self.processes, self.folder, self.bootstrap, self.numbers = [], None, None, 0

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-kafka-"))
        say("starting one broker")
        try:
            self.start_broker()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start_broker(self):
        command = [ROOT / "scripts/kafka", "start", "--dir", self.folder / "broker", "--owner-pid", os.getpid(), "--delete"]
        command += ["--heap", self.broker_heap]
        # Its keeper holds the pipe open for as long as we live: read one line, not to the end.
        with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as starting:
            line = starting.stdout.readline()
        if starting.returncode or not line:
            raise SystemExit(f"the broker did not start (code {starting.returncode})\n{tail(self.folder / 'broker/node-1/log')}")
        self.bootstrap = json.loads(line)["bootstrap"]

    def close(self):
        """Ends everything; whether the broker's start came to its end or not."""
        for process in reversed(self.processes):
            end(process)
        subprocess.run([str(ROOT / "scripts/kafka"), "stop", "--dir", str(self.folder / "broker")], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, command, log, env=None, **options):
        """Starts a process in a session of its own, to be ended with the rig."""
        with open(log, "ab") as out:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdout=options.pop("stdout", out),
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                **options,
            )
        self.processes.append(process)
        return process

    def ask(self, *words, log=None):
        """Runs kafkabench to its end; returns its JSON, when it prints any."""
        command = [str(self.kafkabench), "--bootstrap", self.bootstrap, *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=QUIET)
        self.processes.append(process)
        told = []
        listener = threading.Thread(target=listen, args=(process.stderr, told), daemon=True)
        listener.start()
        out = process.stdout.read()
        process.wait()
        listener.join()
        self.processes.remove(process)
        if process.returncode:
            raise Failure(f"kafkabench {words[0]}: {' '.join(told)}" + (f"\n{tail(log)}" if log else ""))
        return json.loads(out) if out.strip() else None

    def commits(self, group, topic):
        """A stream of {at, committed} lines."""
        command = [self.kafkabench, "--bootstrap", self.bootstrap, "commits", "--group", group, "--topic", topic]
        return self.spawn(command, self.folder / "commits.log", stdout=subprocess.PIPE, text=True)

    def topics(self, worker, source=None):
        """Fresh topics of one run, by role; the input among them unless `source` names one."""
        self.numbers += 1
        prefix = f"{worker}-{self.numbers}"
        names = {role: f"{prefix}.{role}" for role in OUTPUTS + (() if source else ("transactions",))}
        self.ask("topics", "--partitions", PARTITIONS, "--create", *names.values())
        apart = {role: f"{prefix}.{role}" for role in APART}
        self.ask("topics", "--partitions", 1, "--create", *apart.values())
        return Topics(prefix, names | apart, source or names["transactions"])

    def remove(self, topics, more=()):
        with contextlib.suppress(Failure):
            self.ask("topics", "--delete", *topics.own.values(), *more)

    def forget(self, process):
        end(process)
        with contextlib.suppress(ValueError):
            self.processes.remove(process)


QUIET = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}


class Topics:
    """The topics of one run, its own and the input it may share; its prefix names the group, too."""

    def __init__(self, prefix, own, source):
        self.prefix, self.own, self.source = prefix, own, source
        self.names = own | {"transactions": source}

    def __getitem__(self, role):
        return self.names[role]


def listen(lines, told):
    """Passes progress on at once and keeps the rest."""
    for line in lines:
        if line.startswith("... "):
            say(f"    {line.rstrip()}")
        else:
            told.append(line.strip())


def tail(log, length=2_000):
    with contextlib.suppress(OSError):
        return pathlib.Path(log).read_text(errors="replace")[-length:]
    return ""


def end(process):
    """Ends a process we started: asks, then insists."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def kill(process):
    """Ends it as a crash does; returns when."""
    process.kill()
    at = time.time()
    process.wait()
    return at
