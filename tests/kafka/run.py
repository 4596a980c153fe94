#!/usr/bin/env python3
"""The suite against real Kafka: exactly once, in order and with the right features, whatever dies.

  tests/kafka/run.py                 the short form (under eight minutes)
  tests/kafka/run.py --long          the long one: 200 kills, 20 rolling restarts, three nodes
  tests/kafka/run.py --only kills --seed 7

Inputs, outputs and offsets are written and read by Apache's own clients and judged by `suite/verifier.py`, which believes
nothing fraudd says. A scenario that fails prints its seed and where its logs are. Without Java it says "skipped".
"""

import argparse
import os
import pathlib
import shutil
import sys
import time
import traceback

from suite import acknowledged, away, network, refusals, restored  # noqa: F401 - they enter their scenarios
from suite.kafka import ROOT, Admin, Cluster, Failure, Feed, Reader, Unavailable, jars, say
from suite.scenarios import SCENARIOS
from suite.stage import Stage, Wrong
from suite.verifier import KINDS

COLUMNS = {
    "duplicates": ["doubled", "extra", "rest"],
    "lost": ["lost", "dead"],
    "torn": ["torn", "position", "hanging"],
    "out of order": ["out_of_order", "misplaced", "moved_back"],
    "state and oracle": ["feature", "leaked"],
}
assert sorted(kind for kinds in COLUMNS.values() for kind in kinds) == sorted(KINDS)


class Tools:
    """The Java programs of one cluster; each starts when it is first needed."""

    def __init__(self, cluster):
        self.cluster, self.open = cluster, {}

    def _tool(self, name, make):
        if name not in self.open:
            self.open[name] = make(self.cluster.direct)
        return self.open[name]

    feed = property(lambda self: self._tool("feed", Feed))
    reader = property(lambda self: self._tool("reader", Reader))
    admin = property(lambda self: self._tool("admin", Admin))
    watcher = property(lambda self: self._tool("watcher", Admin))

    def count(self, topic):
        """How many offsets a topic has, markers among them."""
        ends = self.admin.ask("ends", topics=[topic])
        return sum(end["stable"] - end["begin"] for end in ends.values())

    def close(self):
        for tool in self.open.values():
            tool.close()


class Suite:
    """What the scenarios share: clusters, tools, the binary, the size of things."""

    def __init__(self, given, folder):
        self.binary, self.long, self.rate = pathlib.Path(given.binary).resolve(), given.long, given.rate
        self.is_blind = given.blind
        self.folder, self.clusters, self.made, self.memory = folder, {}, {}, {}

    def size(self, short, long):
        return long if self.long else short

    def cluster(self, nodes=1):
        """The cluster that scenarios share; whoever breaks it mends it."""
        if nodes not in self.clusters:
            self.clusters[nodes] = Cluster(self.folder / f"kafka-{nodes}", nodes)
            say(f"  {nodes} node(s) ready after {self.clusters[nodes].ready_after:.1f} s")
        return self.clusters[nodes]

    def tools(self, cluster):
        return self.made.setdefault(id(cluster), Tools(cluster))

    def stage(self, name, seed, cluster=None, **options):
        return Stage(self, name, cluster or self.cluster(), seed, **options)

    def remember(self, name, records):
        """The reader goes on where it ended: what it read before is kept here."""
        self.memory.setdefault(name, []).extend(records)

    def remembered(self, name):
        return self.memory.get(name, [])

    def forget(self):
        self.memory.clear()

    def drop(self, cluster):
        """Ends a cluster of one scenario's own, and its tools."""
        tools = self.made.pop(id(cluster), None)
        if tools:
            tools.close()
        cluster.__exit__()

    def close(self):
        for tools in self.made.values():
            tools.close()
        for cluster in self.clusters.values():
            cluster.__exit__()


def play(suite, function, seed):
    """Plays one scenario; returns its row of the table."""
    name = function.__name__
    say(f"{name} (seed {seed}): {function.__doc__.splitlines()[0]}")
    began = time.monotonic()
    counts, line, holds = {}, "", False
    try:
        line, holds = function(suite, seed), True
    except Wrong as wrong:
        counts, line = wrong.findings.counts, "\n".join(wrong.findings.lines())
    except Failure as fault:
        line = str(fault)
    except Exception:  # noqa: BLE001 - one scenario must not end the others
        line = traceback.format_exc()
    finally:
        suite.forget()
    took = time.monotonic() - began
    say(f"  {'ok' if holds else 'FAILED'} after {took:.0f} s: {line}")
    if not holds:
        say(f"  again: tests/kafka/run.py --only {name} --seed {seed}{' --long' if suite.long else ''}; logs: {suite.folder}/{name}-*")
    return {"name": name, "seed": seed, "holds": holds, "took": took, "counts": counts, "line": line}


def table(rows):
    """The result, a row a scenario."""
    width = max(len(row["name"]) for row in rows)
    print(f"{'scenario':{width}}  {'seed':>10}  {'s':>4}  " + "  ".join(COLUMNS) + "  result")
    for row in rows:
        shown = [f"{sum(row['counts'].get(kind, 0) for kind in kinds):{len(name)}}" for name, kinds in COLUMNS.items()]
        first = row["line"].splitlines()[0][:160] if row["line"] else ""
        print(f"{row['name']:{width}}  {row['seed']:>10}  {row['took']:4.0f}  " + "  ".join(shown) + f"  {'ok' if row['holds'] else 'FAILED'}: {first}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the long form")
    parser.add_argument("--only", action="append", help="scenarios by name")
    parser.add_argument("--seed", type=int, help="the seed of everything; by the clock unless given")
    parser.add_argument("--rate", type=int, default=300, help="transactions a second")
    parser.add_argument("--times", type=int, default=1, help="plays everything so often, each time with the next seed")
    parser.add_argument("--binary", default=os.environ.get("FRAUDD_BINARY", ROOT / "target/debug/fraudd"))
    parser.add_argument("--folder", default=ROOT / "target/kafka-suite", help="logs and state of this run, emptied first by no one")
    parser.add_argument("--keep", action="store_true", help="keeps logs and state although all went well")
    parser.add_argument("--blind", action="store_true", help="without recomputing features, for another stream processor")
    parser.add_argument("--list", action="store_true", help="names the scenarios")
    return parser.parse_args()


def main():
    given = arguments()
    chosen = [one for one in SCENARIOS if (one.__name__ in given.only if given.only else given.long or one.short)]
    if given.list or not chosen:
        for one in SCENARIOS:
            print(f"{one.__name__:18} {'short, long' if one.short else 'long':12} {one.__doc__.splitlines()[0]}")
        return 0 if given.list else 2
    try:
        jars()
    except Unavailable as lacking:
        print(f"kafka suite: skipped: {lacking}")
        return 0
    seed = given.seed if given.seed is not None else int(time.time()) % 1_000_000_000
    folder = pathlib.Path(given.folder) / f"{time.strftime('%H%M%S')}-{os.getpid()}"
    folder.mkdir(parents=True)
    suite = Suite(given, folder)
    began, rows = time.monotonic(), []
    try:
        for number in range(given.times):
            rows += [play(suite, one, seed + number) for one in chosen]
    finally:
        suite.close()
    table(rows)
    failed = [row for row in rows if not row["holds"]]
    if not failed and not given.keep:
        shutil.rmtree(folder)
    print(f"kafka suite: {len(rows) - len(failed)} of {len(rows)} scenarios hold, {time.monotonic() - began:.0f} s, seed {seed}, logs in {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
