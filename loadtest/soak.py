#!/usr/bin/env python3
"""Soaks fraudd: millions of transactions over many simulated months, with retention on; memory and disk must get flat.

    loadtest/soak.py                          ten million transactions, about eight minutes on two cores
    loadtest/soak.py --transactions 1000000   a first look

Events leave by event time (the longest window and its lateness), decisions by bytes. Once both are full, a
longer run must not take more. Prints a table of the way there; exit code 1 when the second half of what came
after the windows were full took a tenth more memory or disk than its first half.
"""

import argparse
import datetime
import itertools
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import harness
from harness import RELEASE, say

# The shipped schema looks back 37 days, and an event may be a day late.
DAYS_KEPT = 38
CHUNK = 500_000
HEAD = "| transactions | simulated day | entities | events | resident MB | events on disk MB | decisions on disk MB | µs CPU |"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=10_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=20_000, help="of the simulation (default: %(default)s)")
    parser.add_argument("--ledger", default="1GiB", help="bytes of decisions on disk (default: %(default)s)")
    args = parser.parse_args()
    if args.transactions < 2 * CHUNK:
        parser.error(f"--transactions is at least {2 * CHUNK}")
    return args


def simulator(args):
    """Starts a simulation that writes to its standard output and ends before today."""
    days = math.ceil(args.transactions / (1.85 * args.customers)) + 1
    start = datetime.date.today() - datetime.timedelta(days=days + 1)
    command = [RELEASE / "fraudd", "simulate", "--customers", args.customers, "--terminals", 2 * args.customers, "--radius", 2]
    command += ["--days", days, "--start", start.isoformat(), "--seed", 11, "--out", "-"]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def megabytes(folder):
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) / 2**20


class Chunk:
    """The next lines of the simulation in a file of their own, as the load generator takes them."""

    def __init__(self, path, lines):
        self.path, self.count = path, len(lines)
        path.write_bytes(b"".join(lines))
        self.last = json.loads(lines[-1])["occurred_at"][:10]


def soak(args, folder):
    rows, day_of = [], datetime.date.fromisoformat
    store = folder / "state"
    settings = {"state.directory": store, "state.bytes_max": args.ledger}
    print(f"{HEAD}\n|---|---|---|---|---|---|---|---|", flush=True)
    source = simulator(args)
    first = None
    try:
        with harness.fraudd(env=harness.environment(settings)) as server:
            sent = 0
            while sent < args.transactions and (lines := list(itertools.islice(source.stdout, CHUNK))):
                chunk = Chunk(folder / "chunk.jsonl", lines)
                first = first or day_of(json.loads(lines[0])["occurred_at"][:10])
                result = harness.load(server, chunk, 0, 600, warm_up=0)
                sent += chunk.count
                if result["answers"] != chunk.count:
                    raise SystemExit(f"{chunk.count - result['answers']} of {chunk.count} transactions were not answered")
                state = json.loads(server.get("/v1/health"))["vitals"]
                row = {"sent": sent, "day": (day_of(chunk.last) - first).days, "entities": state["entities"]}
                row |= {"events": state["entity_events"], "resident": server.resident_mb(), "cpu": result["cpu_us_per_answer"]}
                row |= {"events_disk": megabytes(store / "events"), "ledger_disk": megabytes(store / "ledger")}
                rows.append(row)
                print(
                    f"| {sent:,} | {row['day']} | {row['entities']:,} | {row['events']:,} | {row['resident']:,.0f} "
                    f"| {row['events_disk']:,.0f} | {row['ledger_disk']:,.0f} | {row['cpu']:.1f} |",
                    flush=True,
                )
    finally:
        source.kill()
        source.wait()
    return rows


def verdict(rows):
    """Compares the halves of what came after the windows were full."""
    full = [row for row in rows if row["day"] > DAYS_KEPT]
    if len(full) < 4:
        say(f"the windows are full after {DAYS_KEPT} days: too short to tell")
        return 0
    halves = full[: len(full) // 2], full[len(full) // 2 :]
    grew = []
    for name in ("resident", "events_disk", "ledger_disk", "entities", "events"):
        before, after = (max(row[name] for row in half) for half in halves)
        print(f"{name}: {before:,.0f} in the first half of the days after, {after:,.0f} in the second ({after / before - 1:+.1%})")
        grew += [name] if after > 1.1 * before else []
    for name in grew:
        say(f"FAULT: {name} is not flat")
    return 1 if grew else 0


def main():
    args = arguments()
    harness.raise_open_files()
    with tempfile.TemporaryDirectory(prefix="fraudd-soak-") as folder:
        return verdict(soak(args, pathlib.Path(folder)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
