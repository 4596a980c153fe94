#!/usr/bin/env python3
"""Holds the peers' features against `fraudd features` on simulated transactions, labels and all.

    loadtest/peers/check_parity.py                 20,000 transactions, attacks, disorder, labels
    loadtest/peers/check_parity.py --fraudd PATH   another binary than target/release/fraudd
    loadtest/peers/check_parity.py --java          the Kafka Streams peer's features instead of Python's

Prints the largest difference of every feature that differs, and fails when one is beyond 1e-9 (relative
above 1). Needs nothing but Python's own library.
"""

import argparse
import csv
import json
import math
import pathlib
import subprocess
import sys
import tempfile

from features import MISSING, Features
from transaction_time import micros

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOLERANCE = 1e-9


def simulate(fraudd, folder, seed):
    """Sixty days of few customers: windows of thirty days fill, and every attack happens."""
    command = [fraudd, "simulate", "--customers", "150", "--terminals", "60", "--radius", "15", "--days", "75"]
    command += ["--seed", str(seed), "--label-delay", "5d", "--label-jitter", "4d", "--out-of-order", "0.02"]
    command += ["--out", folder / "tx.jsonl", "--labels", folder / "labels.jsonl"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def expected(fraudd, folder):
    command = [fraudd, "features", "--schema", ROOT / "models/schemas/card-fraud.toml", "--history", folder / "tx.jsonl"]
    command += ["--labels", folder / "labels.jsonl", "--out", folder / "features.csv"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with open(folder / "features.csv", newline="") as file:
        yield from csv.DictReader(file)


def computed(folder):
    features = Features()
    for line in (folder / "labels.jsonl").read_text().splitlines():
        label = json.loads(line)
        features.label(label["transaction_id"], label["label"] in ("fraud", "chargeback"), micros(label["occurred_at"]))
    for line in (folder / "tx.jsonl").read_text().splitlines():
        tx = json.loads(line)
        yield tx["transaction_id"], features.observe(tx, micros(tx["occurred_at"]))


def computed_in_java(folder):
    home = ROOT / ".deps/peers-streams"
    command = ["java", "-cp", f"{home}/classes:{home}/libs/*", "peer.Parity", folder / "tx.jsonl", folder / "labels.jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as java:
        for row in csv.DictReader(java.stdout, delimiter="\t"):
            transaction_id = row.pop("transaction_id")
            yield transaction_id, {name: float(value) for name, value in row.items()}
    if java.returncode:
        raise SystemExit(f"peer.Parity ended with {java.returncode}")


def compare(rows, pairs):
    """Returns rows compared, feature names, and the worst difference by feature."""
    count, names, worst, varied = 0, [], {}, set()
    for row, (transaction_id, values) in zip(rows, pairs, strict=True):
        names = names or [name for name in row if name in values]
        unknown = set(row) - set(values) - {"transaction_id", "occurred_at", "label", "label_at"}
        if row["transaction_id"] != transaction_id or unknown or len(names) != len(values):
            raise SystemExit(f"row {count}: {transaction_id} and {row['transaction_id']}, columns apart: {unknown}")
        count += 1
        for name in names:
            value = values[name]
            own = MISSING.get(name, 0.0) if math.isnan(value) else value
            apart = abs(own - float(row[name])) / max(1.0, abs(own))
            if own != MISSING.get(name, 0.0):
                varied.add(name)
            if apart > worst.get(name, (0.0,))[0]:
                worst[name] = (apart, transaction_id, own, float(row[name]))
    return count, names, worst, varied


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraudd", default=ROOT / "target/release/fraudd", type=pathlib.Path)
    parser.add_argument("--seed", default=11, type=int)
    parser.add_argument("--java", action="store_true", help="the Kafka Streams peer's features")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        folder = pathlib.Path(folder)
        simulate(args.fraudd, folder, args.seed)
        count, names, worst, varied = compare(expected(args.fraudd, folder), computed_in_java(folder) if args.java else computed(folder))
    for name, (apart, transaction_id, own, theirs) in sorted(worst.items(), key=lambda item: -item[1][0])[:20]:
        print(f"{name:34} {apart:.3g} at {transaction_id}: {own} here, {theirs} there", file=sys.stderr)
    idle = sorted(set(names) - varied)
    if idle:
        print(f"never other than missing: {', '.join(idle)}", file=sys.stderr)
    if count == 0 or any(apart > TOLERANCE for apart, *_ in worst.values()):
        raise SystemExit(f"not the same on {count} transactions")
    print(f"{len(names)} features the same on {count} transactions (tolerance {TOLERANCE})")


if __name__ == "__main__":
    main()
