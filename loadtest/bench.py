#!/usr/bin/env python3
"""Measures fraudd beside its peers in one run: CPU per decision, latency at 70 % load, state, start-up.

Every server is started on a free loopback port, loaded by `loadtest` (open loop: latency counts from when a
request was due) and stopped again. CPU is the server's own, read from /proc. Figures are ratios against a
bare axum echo of the same bodies in the same run: this is meant for noisy machines.

    loadtest/bench.py                 everything, about 6 minutes
    loadtest/bench.py --quick         shorter runs, for a first look
    loadtest/bench.py --only rest     one of: rest, entities, start
"""

import argparse
import contextlib
import datetime
import itertools
import json
import math
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"
CONNECTIONS = 32


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def say(text):
    print(text, file=sys.stderr, flush=True)


class Server:
    """One server process, ready when its readiness URL answers 200."""

    def __init__(self, name, command, port, ready, env=None):
        self.name, self.port = name, port
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"bench-{name}-", suffix=".log")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=self.log, stderr=self.log, cwd=ROOT, env={**os.environ, **(env or {})}
        )
        self.ready_after = self._wait_until_ready(ready, started)

    def _wait_until_ready(self, path, started):
        url = f"http://127.0.0.1:{self.port}{path}"
        while time.monotonic() - started < 120:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended at start\n{self.end_of_log()}")
            with contextlib.suppress(OSError):
                if path is None:
                    socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                    return time.monotonic() - started
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if answer.status == 200:
                        return time.monotonic() - started
            time.sleep(0.005)
        self._stop()
        raise SystemExit(f"{self.name} was not ready within 120 s\n{self.end_of_log()}")

    def end_of_log(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()[-3000:]

    def resident_mb(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def _stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def fraudd(bodies_extra=(), env=None):
    port = free_port()
    command = [RELEASE / "fraudd", "serve", "--config", "config/run.toml", "--listen", f"127.0.0.1:{port}", *bodies_extra]
    quiet = {"FRAUDD__TELEMETRY__LOG__FILTER": "warn"}
    return Server("fraudd", command, port, "/readyz", {**quiet, **(env or {})})


def echo():
    port = free_port()
    server = Server("echo", [RELEASE / "echo", f"127.0.0.1:{port}"], port, None)
    return server


def fastapi():
    python = ROOT / ".deps" / "peers" / "bin" / "python"
    port = free_port()
    command = [python, "loadtest/peers/fastapi_scorer.py", "--port", port]
    return Server("fastapi", command, port, "/readyz")


class Bodies:
    """Simulated transactions, each with an id of its own; every server starts empty, so runs share a file."""

    def __init__(self, folder, count, customers):
        self.path = folder / f"transactions-{customers}.jsonl"
        self.count = simulate(self.path, count, customers)


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


def load(server, bodies, rate, seconds, warm_up=2):
    command = [RELEASE / "loadtest", "--address", f"127.0.0.1:{server.port}", "--bodies", bodies.path, "--json", "--quiet"]
    command += ["--rate", rate, "--seconds", seconds, "--connections", CONNECTIONS]
    command += ["--warm-up", warm_up, "--pid", server.process.pid]
    # An echo does not mind an id twice; a scorer would answer it from its ledger, which is no work.
    command += ["--cycle"] if server.name == "echo" else []
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
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
    say(f"  {server.name}: {result['per_second']:,.0f}/s, {result['cpu_us_per_answer']:.1f} µs CPU, load's own CPU {result['load_cpu_share']:.0%}")
    return result


def row(name, result, base):
    ratio = result["cpu_us_per_answer"] / base
    per_core = 1e6 / result["cpu_us_per_answer"]
    return (
        f"| {name} | {result['cpu_us_per_answer']:.1f} | {ratio:.2f} | {per_core:,.0f} | {result['per_second']:,.0f} "
        f"| {result['p50_us'] / 1000:.2f} | {result['p99_us'] / 1000:.2f} | {result['p999_us'] / 1000:.2f} "
        f"| {result['degraded']} |"
    )


HEAD = (
    "| server | CPU µs/answer | × echo | answers/s per core | answers/s | p50 ms | p99 ms | p99.9 ms | degraded |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def rest(folder, seconds, peers):
    bodies = Bodies(folder, 900_000 if seconds >= 10 else 400_000, 20_000)
    say("capacity (closed loop)")
    capacity, table = {}, []
    with echo() as server:
        capacity["echo"] = load(server, bodies, 0, seconds)
    with fraudd() as server:
        capacity["fraudd"] = load(server, bodies, 0, seconds)
    with fraudd(env={"FRAUDD__MODELS__ENABLED": "false"}) as server:
        capacity["fraudd, rules alone"] = load(server, bodies, 0, seconds)
    if peers:
        with fastapi() as server:
            capacity["FastAPI + onnxruntime"] = load(server, bodies, 0, seconds)
    base = capacity["echo"]["cpu_us_per_answer"]
    table.append("Saturated, closed loop, 32 connections:\n\n" + HEAD)
    table.extend(row(name, result, base) for name, result in capacity.items())
    rate = int(0.7 * capacity["fraudd"]["per_second"])
    say(f"open loop at {rate}/s: 70 % of fraudd's capacity")
    rounds = {"echo": [], "fraudd": []}
    for turn in range(3):
        with echo() as server:
            rounds["echo"].append(load(server, bodies, rate, seconds))
        with fraudd() as server:
            rounds["fraudd"].append(load(server, bodies, rate, seconds))
    middle = {name: sorted(found, key=lambda r: r["p99_us"])[1] for name, found in rounds.items()}
    base = middle["echo"]["cpu_us_per_answer"]
    table.append(f"\nOpen loop at {rate:,}/s (70 % of fraudd's capacity), median of three interleaved rounds by p99:\n\n" + HEAD)
    table.extend(row(name, result, base) for name, result in middle.items())
    if peers:
        rate = int(0.7 * capacity["FastAPI + onnxruntime"]["per_second"])
        with fastapi() as server:
            own = load(server, bodies, rate, seconds)
        with fraudd() as server:
            same = load(server, bodies, rate, seconds)
        table.append(f"\nOpen loop at {rate:,}/s (70 % of the FastAPI scorer's capacity):\n\n" + HEAD)
        table += [row("FastAPI + onnxruntime", own, base), row("fraudd", same, base)]
    return table


def entities(folder, seconds):
    """CPU per decision with 1 k, 100 k and 1 M customers' state behind it."""
    table = ["\nCost against state (customers in memory from backfilled history):\n"]
    table += ["| customers | CPU µs/decision | × 1 k | entities | events | bytes/event | resident MB |", "|---|---|---|---|---|---|---|"]
    first = None
    for customers in (1_000, 100_000, 1_000_000):
        count = max(300_000, int(customers * 1.5))
        say(f"state of {customers:,} customers")
        everything = Bodies(folder, count + 300_000, customers)
        upcoming = split(everything, count, folder / "history.jsonl")
        with fraudd(["--backfill", folder / "history.jsonl"]) as server:
            result = load(server, upcoming, 8_000, min(seconds, 20))
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v1/health") as answer:
                state = json.load(answer)["vitals"]
            resident = server.resident_mb()
        cost = result["cpu_us_per_answer"]
        first = first or cost
        events = state["entity_events"]
        per_event = state["entity_bytes"] / events if events else float("nan")
        table.append(
            f"| {customers:,} | {cost:.1f} | {cost / first:.2f} | {state['entities']:,} | {events:,} | {per_event:.0f} | {resident:.0f} |"
        )
    return table


def split(bodies, count, history):
    """Moves the first `count` transactions to `history`; returns the rest."""
    rest = bodies.path.with_suffix(".next.jsonl")
    with open(bodies.path, "rb") as lines:
        with open(history, "wb") as out:
            out.writelines(itertools.islice(lines, count))
        with open(rest, "wb") as out:
            out.writelines(lines)
    bodies.path.unlink()
    bodies.path, bodies.count = rest, bodies.count - count
    return bodies


def start():
    found = []
    for _ in range(5):
        with fraudd() as server:
            found.append((server.ready_after * 1000, server.resident_mb()))
    ready, memory = (statistics.median(column) for column in zip(*found))
    return [f"\nStart to ready: {ready:.0f} ms (median of 5, two models); idle memory: {memory:.0f} MB."]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="runs of 6 s instead of 15 s")
    parser.add_argument("--only", choices=["rest", "entities", "start"], help="one part alone")
    parser.add_argument("--no-peers", action="store_true", help="without the Python peer")
    args = parser.parse_args()
    seconds = 6 if args.quick else 15
    table = []
    with tempfile.TemporaryDirectory(prefix="fraudd-bench-") as folder:
        folder = pathlib.Path(folder)
        if args.only in (None, "start"):
            table += start()
        if args.only in (None, "rest"):
            table += rest(folder, seconds, not args.no_peers)
        if args.only in (None, "entities"):
            table += entities(folder, seconds)
    print("\n".join(table))


if __name__ == "__main__":
    main()
