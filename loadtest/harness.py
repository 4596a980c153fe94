"""What the benchmark and the load test share: servers, simulated transactions, the load generator.

A server is a context manager: whatever happens inside, it is ended. Everything listens on a loopback port of its own.
"""

import contextlib
import datetime
import itertools
import json
import math
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"
CONNECTIONS = 32
READY_WITHIN = 120
STOP_WITHIN = 20
# Plain runc: crun refuses the hybrid cgroups of some machines.
PODMAN = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
# Whom the image runs as, and where it keeps its state.
CONTAINER_USER = 10001
CONTAINER_STATE = "/var/lib/fraudd"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def say(text):
    print(text, file=sys.stderr, flush=True)


def raise_open_files():
    """Servers inherit our limit, and thousands of connections need as many files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Server:
    """One server process, ready when its readiness URL answers 200 (or its port, when there is none)."""

    def __init__(self, name, command, port, ready, env=None, wait=True):
        self.name, self.port, self.ready_path = name, port, ready
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"bench-{name}-", suffix=".log")
        self.started = time.monotonic()
        self.ready_after = None
        # A session of its own: a Ctrl-C is for us, and we end it in order.
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self.log,
            stderr=self.log,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        if wait:
            try:
                self.wait_until_ready()
            except BaseException:
                self._stop()
                raise

    @property
    def pid(self):
        return self.process.pid

    def wait_until_ready(self, within=READY_WITHIN):
        url = f"http://127.0.0.1:{self.port}{self.ready_path}"
        while time.monotonic() - self.started < within:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended at start\n{self.end_of_log()}")
            with contextlib.suppress(OSError):
                if self.ready_path is None:
                    socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                    break
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if answer.status == 200:
                        break
            time.sleep(0.005)
        else:
            raise SystemExit(f"{self.name} was not ready within {within} s\n{self.end_of_log()}")
        self.ready_after = time.monotonic() - self.started
        return self.ready_after

    def end_of_log(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()[-3000:]

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read()

    def resident_mb(self):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
        return float("nan")

    def kill(self):
        """Ends it as a crash does."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(STOP_WITHIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def _stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Container(Server):
    """A server in a container; the pid is that of the service inside, as the host sees it."""

    def __init__(self, container, *args, **kwargs):
        self.container = container
        self._pid = None
        super().__init__(*args, **kwargs)

    @property
    def pid(self):
        deadline = time.monotonic() + READY_WITHIN
        while self._pid is None and time.monotonic() < deadline and self.process.poll() is None:
            found = podman("inspect", "--format", "{{.State.Pid}}", self.container)
            if found and found != "0":
                self._pid = int(found)
                break
            time.sleep(0.02)
        if self._pid is None:
            raise SystemExit(f"container {self.container} has no process\n{self.end_of_log()}")
        return self._pid

    def _stop(self):
        # podman hands the signal on; --rm clears up after it.
        super()._stop()
        podman("rm", "--force", "--ignore", self.container)


def podman(*words):
    """Runs podman and returns what it printed; nothing when it failed."""
    done = subprocess.run([*PODMAN, *map(str, words)], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def environment(settings):
    """Settings such as `state.directory` as environment variables."""
    return {f"FRAUDD__{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}


QUIET = {"telemetry.log.filter": "warn"}


class Binary:
    """The bare binary of this tree, or another one."""

    def __init__(self, path=RELEASE / "fraudd"):
        self.path = pathlib.Path(path).resolve()
        self.title = "the bare binary"
        self.config = _config_show([self.path, "config", "show", "--config", "config/run.toml"])

    def serve(self, settings=None, store=None, port=None, wait=True, arguments=()):
        """Starts it, with its state in the folder `store` when one is given."""
        port = port or free_port()
        settings = QUIET | (settings or {}) | ({"state.directory": store} if store else {})
        command = [self.path, "serve", "--config", "config/run.toml", "--listen", f"127.0.0.1:{port}", *arguments]
        return Server("fraudd", command, port, "/readyz", environment(settings), wait)


class Image:
    """A container image of it, with the limits it is meant to run under."""

    numbers = itertools.count(1)

    def __init__(self, name, memory):
        self.name, self.memory = name, memory
        self.title = f"the container {name} (--read-only --cap-drop all --memory {memory})"
        run = ["run", "--rm", "--network", "host", *self._limits(), "--entrypoint", "fraudd", name]
        self.config = _config_show([*PODMAN, *run, "config", "show", "--config", "/etc/fraudd/container.toml"])

    def _limits(self):
        # Ours may not be raised in there: say what is given, or runc refuses.
        files = min(raise_open_files(), 65_536)
        return ["--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=1024:1024", "--health-interval", "disable"]

    def serve(self, settings=None, store=None, port=None, wait=True):
        port = port or free_port()
        container = f"fraudd-loadtest-{os.getpid()}-{next(self.numbers)}"
        settings = QUIET | {"server.listen": f"127.0.0.1:{port}"} | (settings or {})
        command = [*PODMAN, "run", "--rm", "--name", container, "--network", "host", *self._limits()]
        command += ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--memory", self.memory]
        if store:
            os.chown(store, CONTAINER_USER, CONTAINER_USER)
            command += ["--volume", f"{store}:{CONTAINER_STATE}"]
            settings |= {"state.directory": f"{CONTAINER_STATE}/state"}
        for name, value in environment(settings).items():
            command += ["--env", f"{name}={value}"]
        return Container(container, "fraudd", [*command, self.name], port, "/readyz", None, wait)


def _config_show(command):
    """What is in effect, by key; values as they are written."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stderr.strip()}")
    pairs = (line.split("  # ")[0].split(" = ", 1) for line in done.stdout.splitlines())
    return {pair[0].strip(): pair[1].strip().strip('"') for pair in pairs if len(pair) == 2}


def fraudd(arguments=(), env=None):
    port = free_port()
    command = [RELEASE / "fraudd", "serve", "--config", "config/run.toml", "--listen", f"127.0.0.1:{port}", *arguments]
    return Server("fraudd", command, port, "/readyz", {**environment(QUIET), **(env or {})})


def echo():
    port = free_port()
    return Server("echo", [RELEASE / "echo", f"127.0.0.1:{port}"], port, None)


class Bodies:
    """Simulated transactions, each with an id of its own; every server starts empty, so runs share a file."""

    def __init__(self, folder, count, customers):
        self.folder, self.customers = folder, customers
        self.path = folder / f"transactions-{customers}.jsonl"
        self.count = simulate(self.path, count, customers)

    def at_least(self, count):
        """Makes the file again when a run needs more. Ids come again with other contents: for a server that starts empty."""
        if self.count < count:
            self.count = simulate(self.path, count, self.customers)
        return self


def simulate(path, count, customers):
    """Writes about `count` transactions that end before today; returns how many."""
    # A customer makes about two transactions a day, and the first day is whole.
    days = max(2, math.ceil(count / (1.9 * customers)))
    start = datetime.date.today() - datetime.timedelta(days=days + 1)
    terminals = min(2 * customers, 200_000)
    # About sixty terminals in reach of a customer, however dense the map.
    radius = min(5.0, math.sqrt(60 * 10_000 / (math.pi * terminals)))
    command = [RELEASE / "fraudd", "simulate", "--customers", customers, "--terminals", terminals, "--radius", f"{radius:.2f}"]
    command += ["--days", days, "--start", start.isoformat(), "--seed", 7, "--out", "-"]
    found = 0
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as simulator:
        with open(path, "wb") as out:
            for line in itertools.islice(simulator.stdout, count):
                out.write(line)
                found += 1
        simulator.stdout.close()
    if found == 0 or simulator.returncode != 0:
        raise SystemExit(f"fraudd simulate ended with {simulator.returncode} after {found} transactions")
    return found


def load_command(server, bodies, rate, seconds, warm_up=2, connections=CONNECTIONS, skip=0):
    command = [RELEASE / "loadtest", "--address", f"127.0.0.1:{server.port}", "--bodies", bodies.path, "--json", "--quiet"]
    command += ["--rate", rate, "--seconds", seconds, "--connections", connections, "--warm-up", warm_up, "--skip", skip]
    # An echo does not mind an id twice; a scorer would answer it from its ledger, which is no work.
    command += ["--cycle"] if server.name == "echo" else []
    return [str(part) for part in command]


class Generator:
    """The load generator beside us: connected when made, under way after `go`."""

    def __init__(self, server, bodies, rate, seconds, connections, skip=0, record=None, pid=True, whole=False):
        command = load_command(server, bodies, rate, seconds, 0, connections, skip) + ["--wait"]
        command += ["--record", str(record)] if record else []
        command += ["--whole"] if whole else []
        command += ["--pid", str(server.pid)] if pid else []
        self.seconds, self.server = seconds, server
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
        if self.process.stderr.readline() != "open\n":
            out, told = self.process.communicate()
            raise SystemExit(f"loadtest against {server.name}: {told.strip() or out}\n{server.end_of_log()}")

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return time.time()

    def finish(self):
        out, told = self.process.communicate()
        if self.process.returncode != 0:
            raise SystemExit(f"loadtest against {self.server.name}: {told.strip()}\n{self.server.end_of_log()}")
        return json.loads(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def load(server, bodies, rate, seconds, warm_up=2, connections=CONNECTIONS, skip=0):
    """Loads a server and returns what the generator found; says what was not as it should be."""
    command = load_command(server, bodies, rate, seconds, warm_up, connections, skip) + ["--pid", str(server.pid)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    if done.returncode != 0:
        raise SystemExit(f"loadtest against {server.name}: {done.stderr.strip()}\n{server.end_of_log()}")
    result = json.loads(done.stdout)
    bad = {status: count for status, count in result["statuses"].items() if status != "200"}
    if bad or result["failures"]:
        say(f"  {server.name}: statuses other than 200: {bad}, failures: {result['failures']}")
    if result["late"] or result["unanswered"]:
        say(f"  {server.name}: {result['late']} never sent, {result['unanswered']} never answered; charged as waits")
    if result["bodies_exhausted"]:
        say(f"  {server.name}: the {bodies.count} transactions ended after {result['seconds']:.1f} counted seconds")
    if not result["answers"]:
        raise SystemExit(f"{server.name} answered nothing\n{server.end_of_log()}")
    if result["cpu_us_per_answer"] is None:
        raise SystemExit(f"{server.name} ended under load\n{server.end_of_log()}")
    say(f"  {server.name}: {result['per_second']:,.0f}/s, {result['cpu_us_per_answer']:.1f} µs CPU, load's own CPU {result['load_cpu_share']:.0%}")
    return result
