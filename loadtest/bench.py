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
import itertools
import json
import pathlib
import statistics
import tempfile
import urllib.request

from harness import ROOT, Bodies, Server, echo, fraudd, free_port, load, say


def fastapi():
    python = ROOT / ".deps" / "peers" / "bin" / "python"
    port = free_port()
    command = [python, "loadtest/peers/fastapi_scorer.py", "--port", port]
    return Server("fastapi", command, port, "/readyz")


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
