#!/usr/bin/env python3
"""Measures fraudd on Kafka beside its peers in one run, on one broker, over the same bytes.

    make bench-kafka                                   everything
    make bench-kafka ARGS='--quick'                    a first look
    loadtest/kafka/bench.py --only drain --workers copy,fraudd

drain    a full topic: CPU seconds of the worker's own process per 100,000 scored transactions, throughput
latency  open loop: from when an input was due to the arrival of its score at a read_committed reader
restore  kill -9 under a trickle: until the next commit, with local state and without

Workers take turns, the second round in the opposite order. Writes report.md and data.json into target/bench-kafka/NAME/
and prints the report. Whatever was started is ended, also by Ctrl-C. Figures are ratios in one run: this is meant
for noisy machines, but not for busy ones.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import sys

import measures
import summary
from rig import ROOT, Failure, Rig, say
from workers import catalogue

sys.path.insert(0, str(ROOT / "loadtest"))

RELEASE = ROOT / "target/release"
SOURCE = "bench.transactions"
PARTS = ("drain", "latency", "restore")
CUSTOMERS = 20_000
# Above this share of its own capacity a worker's latency is its queue's.
RATE_SHARE_MAX = 0.8
BUSY = 0.7


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few transactions, one round")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument("--workers", help="names, comma separated (default: all)")
    parser.add_argument("--fraudd", type=pathlib.Path, default=RELEASE / "fraudd", help="another binary")
    parser.add_argument("--kafkabench", type=pathlib.Path, default=RELEASE / "kafkabench", help="another build of the tool")
    parser.add_argument("--linger-ms", type=int, default=5, help="how long a batch waits for more (default: %(default)s)")
    parser.add_argument("--rate", type=int, help="of the latency part, instead of one that all can bear")
    parser.add_argument("--name", help="of the report's folder (default: date and time)")
    args = parser.parse_args()
    args.parts = args.only or list(PARTS)
    args.count, args.preload = (30_000, 15_000) if args.quick else (200_000, 60_000)
    args.restore_preload = 15_000 if args.quick else 200_000
    args.seconds, args.warm_up, args.rounds = (8, 3, 1) if args.quick else (20, 5, 2)
    return args


class Bench:
    def __init__(self, args, rig, workers):
        self.args, self.rig, self.workers = args, rig, workers
        self.data = {"drain": {}, "latency": {}, "restore": {}, "failures": [], "titles": {}, "notes": {}}
        for worker in workers:
            self.data["titles"][worker.name], self.data["notes"][worker.name] = worker.title, worker.note

    def prepare(self, count):
        """One file of transactions for everyone, and the topic of the drain."""
        import harness

        harness.RELEASE = self.args.fraudd.parent
        self.lines = self.rig.folder / "transactions.jsonl"
        found = harness.simulate(self.lines, count, CUSTOMERS)
        say(f"{found:,} simulated transactions")
        if found < count:
            raise SystemExit(f"the simulation gave {found} of {count} transactions")
        self.rig.ask("topics", "--create", SOURCE)
        self.rig.ask("fill", "--lines", self.lines, "--topic", SOURCE, "--count", self.args.count)

    def attempt(self, part, worker, work):
        """Runs one measurement; a failure is told and kept, and the others go on."""
        try:
            return work()
        except Failure as failure:
            say(f"  {worker.name}: {failure}")
            self.data["failures"].append({"part": part, "worker": worker.name, "what": str(failure)})
            return None

    def turns(self):
        for number in range(self.args.rounds):
            yield number, self.workers if number % 2 == 0 else self.workers[::-1]

    def profile(self):
        """What the copy loop sends: fraudd's outputs, or a peer's when fraudd is not in the run."""
        copy = next((worker for worker in self.workers if worker.name == "copy"), None)
        if copy is None:
            return
        source = next((worker for worker in self.workers if worker.decides), None)
        if source is None:
            raise SystemExit("the copy loop copies somebody's outputs: name a worker that decides, too")
        say(f"looking at the outputs of {source.name}")
        copy.profile = self.rig.folder / "profile.json"
        told = measures.profile(self.rig, source, self.lines, 5_000, self.args.linger_ms, copy.profile)
        self.data["profile"] = {
            "from": told["from"], "score_bytes": len(told["scores"]["value"]), "alert_share": told["alert_share"],
            "state_bytes_per_transaction": told["state_bytes_per_row"], "headers": len(told["scores"]["headers"]),
        }  # fmt: skip

    def drain(self):
        decisions = {}
        for number, order in self.turns():
            say(f"drain, round {number + 1} of {self.args.rounds}: {self.args.count:,} transactions")
            for worker in order:
                path = self.rig.folder / f"{worker.name}.decisions"
                work = lambda: measures.drain(self.rig, worker, SOURCE, self.args.count, self.args.linger_ms, path)[0]
                found = self.attempt("drain", worker, work)
                if found:
                    self.data["drain"].setdefault(worker.name, []).append(found)
                    if worker.decides:
                        decisions[worker.name] = path
                    say(
                        f"  {worker.name}: {found['cpu_s_per_100k']:.2f} CPU s per 100 k, {found['rows_per_second']:,.0f}/s, "
                        f"{found['ids']:,} ids, {found['alerts']:,} alerts, {found['degraded']:,} degraded, exactly once: {found['exactly_once']}"
                    )
        reference = "fraudd" if "fraudd" in decisions else next(iter(decisions), None)
        self.data["reference"] = reference
        for name, path in decisions.items():
            self.data["drain"][name][-1]["against"] = measures.compare(decisions[reference], path)

    def capacity(self, name):
        runs = self.data["drain"].get(name)
        return min(run["rows_per_second"] for run in runs) if runs else None

    def rates(self):
        """One rate that the slowest worker bears well, and half of what fraudd can."""
        if self.args.rate:
            return [self.args.rate]
        capacities = [capacity for worker in self.workers if not worker.drains_only and (capacity := self.capacity(worker.name))]
        bearable = int(0.5 * min(capacities, default=1_000)) // 100 * 100
        rates = [max(100, min(bearable, 5_000))]
        half = int(0.5 * (self.capacity("fraudd") or 0)) // 100 * 100
        return rates + ([half] if half > 1.5 * rates[0] else [])

    def latency(self):
        for rate in self.rates():
            able = [worker for worker in self.workers if (self.capacity(worker.name) or 1e9) * RATE_SHARE_MAX >= rate]
            for number, order in self.turns():
                say(f"latency, round {number + 1} of {self.args.rounds}: {rate:,}/s")
                for worker in order:
                    if worker not in able or worker.drains_only:
                        continue
                    args = self.args
                    work = lambda: measures.latency(
                        self.rig, worker, self.lines, rate, args.seconds, args.warm_up, args.preload, args.linger_ms
                    )
                    found = self.attempt("latency", worker, work)
                    if found:
                        self.data["latency"].setdefault(str(rate), {}).setdefault(worker.name, []).append(found)
                        say(
                            f"  {worker.name}: p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f}, p99.9 {found['p999_ms']:.1f}; "
                            f"missing {found['missing']}, doubled {found['doubled']}; sender late p99 {found['send_late_p99_ms']:.1f} ms"
                        )

    def restore(self):
        preload = self.args.restore_preload
        entities = count_entities(self.lines, preload)
        say(f"restore: {entities:,} entities of {preload:,} transactions")
        for worker in self.workers:
            if worker.drains_only:
                continue
            say(f"  {worker.name}")
            work = lambda: measures.restore(self.rig, worker, self.lines, preload, entities, self.args.linger_ms)
            found = self.attempt("restore", worker, work)
            if found:
                self.data["restore"][worker.name] = found


def count_entities(path, count):
    """Entities of the schema's six kinds in the first transactions."""
    kinds = [("customer_id",), ("merchant", "terminal_id"), ("card", "token"), ("card", "bin"), ("device", "id"), ("email_hash",)]
    found = [set() for _ in kinds]
    with open(path) as lines:
        for _, line in zip(range(count), lines):
            tx = json.loads(line)
            for seen, keys in zip(found, kinds):
                value = tx
                for key in keys:
                    value = (value or {}).get(key)
                if value is not None:
                    seen.add(value)
    return sum(map(len, found))


def main():
    args = arguments()
    known = catalogue(args.fraudd)
    names = args.workers.split(",") if args.workers else list(known)
    if unknown := set(names) - set(known):
        raise SystemExit(f"no worker {', '.join(unknown)}; there are {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    is_cut = False
    if (load := os.getloadavg()[0]) > BUSY:
        say(f"this machine is busy (load {load:.1f}): take no figures from this run")
    with Rig(args.kafkabench) as rig:
        bench = Bench(args, rig, [known[name] for name in names])
        bench.data |= summary.facts(args)
        try:
            # Enough for the longest part: what is preloaded and then sent at the highest rate.
            bench.prepare(max(args.count, args.restore_preload + 40_000, args.preload + 30_000 * (args.seconds + args.warm_up)))
            bench.profile()
            for part in args.parts:
                getattr(bench, part)()
        except KeyboardInterrupt:
            is_cut = True
            say("ending; what was found so far is reported")
        bench.data["load_after"] = os.getloadavg()[0]
        folder = ROOT / "target/bench-kafka" / (args.name or datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S"))
        folder.mkdir(parents=True, exist_ok=True)
        text = summary.write(bench.data)
        (folder / "report.md").write_text(text)
        (folder / "data.json").write_text(json.dumps(bench.data, indent=1))
    print(text)
    say(f"written into {folder}")
    if is_cut:
        raise SystemExit(130)
    if bench.data["failures"] or not summary.is_whole(bench.data):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
