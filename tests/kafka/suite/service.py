"""One instance of fraudd: its settings, its process, what it says. It is ended by its pid, whatever happens."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from suite.kafka import ROOT, Failure, wait_until

READY_WITHIN = 60
STOP_WITHIN = 30
LIBRARY = ROOT / ".deps/onnxruntime/libonnxruntime.so.1.28.0"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def toml(settings):
    """Settings such as `kafka.topics.dead` as a file."""
    tables = {}
    for key, value in settings.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, []).append(f"{name} = {json.dumps(value)}")
    lines = [line for table, pairs in sorted(tables.items()) for line in ([f"[{table}]"] if table else []) + pairs]
    return "\n".join(lines) + "\n"


class Service:
    """An instance with a folder of its own: settings, log and state, which outlives its process."""

    def __init__(self, binary, folder, instance, settings):
        self.binary, self.folder, self.instance = binary, pathlib.Path(folder), instance
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store, self.log = self.folder / "state", self.folder / "log"
        self.port = free_port()
        self.settings = {
            "server.listen": f"127.0.0.1:{self.port}",
            "server.drain_pause": "0s",
            "state.directory": str(self.store),
            "telemetry.log.filter": "info",
            # It is killed all the time, and its models are not to blame.
            "models.crashes_max": 0,
            "kafka.instance": instance,
        } | settings
        self.config = self.folder / "fraudd.toml"
        self.process, self.starts, self.stopped = None, 0, False

    def command(self, *words, timeout=60):
        """Runs another subcommand with these settings; returns the code and all it said."""
        self.config.write_text(toml(self.settings))
        command = [str(self.binary), *words, "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT, env=self._environment(None))
        return done.returncode, done.stdout + done.stderr

    def start(self, crash_at=None, wait=True):
        self.config.write_text(toml(self.settings))
        self.starts += 1
        with open(self.log, "ab") as log:
            log.write(f"---- start {self.starts}{f', crash at {crash_at}' if crash_at else ''}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                [str(self.binary), "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment(crash_at),
                start_new_session=True,
            )
        if wait:
            self.wait_ready()
        return self

    def _environment(self, crash_at):
        extra = {"ORT_DYLIB_PATH": os.environ.get("ORT_DYLIB_PATH", str(LIBRARY)), "RUST_BACKTRACE": "1"}
        return {**os.environ, **extra, **({"FRAUDD_CRASH_AT": crash_at} if crash_at else {})}

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def wait_ready(self, within=READY_WITHIN):
        def ready():
            if not self.runs:
                raise Failure(f"{self.instance} ended with {self.process.returncode}; {self.end_of_log()}")
            return self.get("/readyz")[0] == 200

        wait_until(ready, within, lambda: f"{self.instance} ready: {self.get('/readyz')}; {self.end_of_log()}")

    def wait_ended(self, within):
        """Waits until the process ends by itself; returns its code, or None when it does not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(within)
        return None

    def signal(self, number):
        if self.runs:
            self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(STOP_WITHIN)

    def stop(self):
        """Ends it in order; returns the exit code and how long that took."""
        if not self.runs:
            return (self.process.returncode if self.process else 0), 0.0
        began = time.monotonic()
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        code = self.wait_ended(STOP_WITHIN)
        if code is None:
            self.kill()
            raise Failure(f"{self.instance} did not end within {STOP_WITHIN} s of SIGTERM; {self.end_of_log()}")
        return code, time.monotonic() - began

    def end(self):
        """Ends it however it is."""
        if self.runs:
            self.signal(signal.SIGCONT)
            self.kill()

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()
        except OSError as fault:
            return 0, str(fault)

    def json(self, path):
        status, text = self.get(path)
        return json.loads(text) if status == 200 else None

    def metric(self, name, **labels):
        """The sum of a metric's series with these labels; None when there are none."""
        found = []
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{wanted}"' in series for key, wanted in labels.items()):
                found.append(float(value))
        return sum(found) if found else None

    def end_of_log(self, lines=12):
        try:
            return "its log ends: " + " | ".join(line[:240] for line in self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "no log"

    def said(self, text):
        """Whether the log of the current process has a text."""
        try:
            return text in self.log.read_text(errors="replace").rpartition("---- start")[2]
        except OSError:
            return False


class Rest:
    """One kept-alive connection to an instance."""

    def __init__(self, service):
        self.service, self.line = service, None

    def post(self, path, value, timeout=20):
        """Returns status and answer; (0, why) when the connection broke, and then nobody knows what became of it."""
        try:
            if self.line is None:
                self.line = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=timeout)
            self.line.request("POST", path, json.dumps(value), {"content-type": "application/json"})
            answer = self.line.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as fault:
            self.close()
            return 0, str(fault)

    def close(self):
        if self.line:
            self.line.close()
        self.line = None
