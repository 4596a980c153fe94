#!/usr/bin/env python3
"""Measures healing under load: how soon a failing model is found, what a storm of swaps does, what watching costs.

    make bench-heal                        everything, about a quarter of an hour
    make bench-heal ARGS=--quick           a first look, about two minutes
    make bench-heal ARGS='--only storm'    one part: detection, storm, cost

Writes report.md and data.json into target/bench-heal/NAME/ and prints the report. Exit code 1 when a request failed, a fault was
missed or an answer was of two releases; a time that misses its goal is told and is no failure, for the machine may be slow.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys

import harness
from harness import ROOT, say
from parts import heal_report
from parts.heal_cost import cost
from parts.heal_detection import detection
from parts.heal_storm import storm

PARTS = {"detection": detection, "storm": storm, "cost": cost}
CUSTOMERS = 20_000
# A storm takes two hundred seconds of the machine's 70 %, and what fills the ledger first.
BODIES, BODIES_QUICK = 7_000_000, 900_000
PAGE_LEN = 1_000


class Run:
    """What every part needs: transactions, servers, their record."""

    def __init__(self, folder, quick, bodies, binary):
        self.folder, self.quick = folder, quick
        self.binary = harness.Binary(binary)
        self.bodies = Given(bodies) if bodies else harness.Bodies(folder, 60_000, CUSTOMERS)
        self.bodies_wanted = BODIES_QUICK if quick else BODIES

    def serve(self, settings, layers=()):
        return self.binary.serve(settings, arguments=layers)

    def first(self, folder, count):
        """The first transactions alone: a closed loop would read them all, however many it uses."""
        path = folder / "first.jsonl"
        with open(self.bodies.path, "rb") as lines, open(path, "wb") as out:
            out.writelines(itertools.islice(lines, count))
        return Given(path)

    def audit(self, server):
        """Every line of the record."""
        found, after = [], 0
        while True:
            page = json.loads(server.get(f"/v1/audit?after={after}&limit={PAGE_LEN}"))
            lines = page["records"] if isinstance(page, dict) else page
            if not lines:
                return found
            found += lines
            after = lines[-1]["seq"]


class Given:
    """Transactions that were made before, in a file that stays."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as lines:
            self.count = sum(1 for _ in lines)

    def at_least(self, count):
        if self.count < count:
            say(f"  {self.path} has {self.count:,} of {count:,} transactions: later runs may end early")
        return self


def machine():
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT)
    processor = next((line.split(": ")[1] for line in open("/proc/cpuinfo") if line.startswith("model name")), "?").strip()
    return {
        "at": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": git.stdout.strip() or "unknown",
        "processor": f"{os.cpu_count()} CPUs ({processor})",
        "load": os.getloadavg()[0],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument("--quick", action="store_true", help="short runs: a first look")
    parser.add_argument("--fraudd", type=pathlib.Path, default=harness.RELEASE / "fraudd", help="another binary")
    parser.add_argument("--bodies", type=pathlib.Path, help="transactions made before, one a line; else they are simulated")
    parser.add_argument("--name", default=datetime.datetime.now().strftime("%Y%m%d-%H%M%S"), help="of the report's folder")
    args = parser.parse_args()
    harness.raise_open_files()
    folder = ROOT / "target" / "bench-heal" / pathlib.Path(args.name).name
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, args.quick, args.bodies, args.fraudd)
    found = {"machine": machine(), "quick": args.quick}
    try:
        for name in args.only or PARTS:
            found[name] = PARTS[name](run)
    finally:
        if not args.bodies:
            run.bodies.path.unlink(missing_ok=True)
    found["machine"]["load_after"] = os.getloadavg()[0]
    text, faults = heal_report.report(found)
    (folder / "data.json").write_text(json.dumps(found, indent=1))
    (folder / "report.md").write_text(text)
    print(text)
    for fault in faults:
        say(f"FAULT: {fault}")
    say(f"{folder}/report.md")
    return 1 if faults else 0


def interrupted(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Servers are ended whoever ends us.
    signal.signal(signal.SIGTERM, interrupted)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
