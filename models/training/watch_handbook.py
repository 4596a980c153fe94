"""What the detectors raise on the handbook's stream, through `fraudd calibrate --check`.

    watch_handbook.py --fraudd target/release/fraudd --work target/handbook --features target/handbook/handbook.parquet

A model of the week 06-24..30 is watched with tolerances calibrated on 05-13..06-30. Labels come seven days after their
transaction. The stationary weeks 07-08..09-04 must raise nothing to act on; in copies of the stream something is wrong from
08-08 on, and that must be found, by the alarm that is meant:

    x100, x15   amounts are multiplied by 100, by 1.5        rekeyed   every card gets another id
    stopped     labels of what happens from 08-01 on never come: the feed must alarm, and nothing that rests on labels
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import numpy
import pandas

import estimators
import handbook
import table as tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
HISTORY = handbook.REFERENCE / "transactions_2018-04-01_2018-09-04.parquet"
SCHEMA = ROOT / "models/schemas/handbook.toml"
TRAIN = ("2018-06-24", "2018-07-01")
CALIBRATED, FIRST, CHECKED = "2018-05-13T00:00:00Z", "2018-05-28", "2018-07-08T00:00:00Z"
WRONG, STOPPED, LAST = "2018-08-08", "2018-08-01", "2018-08-22"
GOLDEN_ROWS = 8000
REVIEW_RATE, DECLINE_RATE = 0.01, 0.003
COLUMNS = ["transaction_id=TRANSACTION_ID", "occurred_at=TX_DATETIME:epoch_ms", "amount=TX_AMOUNT:major"]
COLUMNS += ["customer_id=CUSTOMER_ID", "merchant.terminal_id=TERMINAL_ID"]
LABELLED = ["--map", "label=TX_FRAUD", "--label-delay", "7d"]


def at(raw):
    return pandas.to_datetime(raw["TX_DATETIME"], unit="ms")


def bundle(args, raw, version="watched", train=TRAIN, into=None):
    """Fits the model of one week and packs it; its baseline is that week. `into`: another directory of bundles."""
    names = tables.inputs(SCHEMA)
    week = raw[(at(raw) >= train[0]) & (at(raw) < train[1])][["TRANSACTION_ID", "TX_FRAUD"]]
    table = pandas.read_parquet(args.features, columns=["transaction_id", *names])
    table["TRANSACTION_ID"] = table.pop("transaction_id").astype(int)
    table = table.merge(week, on="TRANSACTION_ID").sort_values("TRANSACTION_ID")
    rows, labels = table[names].to_numpy(numpy.float32), table["TX_FRAUD"].to_numpy()
    model = estimators.make("xgboost", rows)
    model.fit(rows, labels)
    scores = estimators.probability(model, rows)
    review, decline = (round(float(numpy.quantile(scores, 1 - rate)), 4) for rate in (REVIEW_RATE, DECLINE_RATE))
    work = args.work / version
    work.mkdir(parents=True, exist_ok=True)
    (work / "model.onnx").write_bytes(estimators.to_onnx_bytes(model, len(names)))
    with open(work / "golden.jsonl", "w") as out:
        for row, label, said in list(zip(rows, labels, scores))[-GOLDEN_ROWS:]:
            cells = [None if numpy.isnan(cell) else float(cell) for cell in row]
            out.write(json.dumps({"row": cells, "label": bool(label), "probability": float(said), "weight": 1.0}) + "\n")
    table[names].astype(numpy.float32).to_parquet(work / "profile.parquet")
    (work / "facts.json").write_text(json.dumps({"trainer": estimators.trainer("xgboost"), "metrics": {}, "training": {}}))
    (work / "CARD.md").write_text("# A model of the handbook's evaluation: not for use.\n")
    (work / "no-rules.toml").write_text("# The evaluation is of the model alone.\n")
    target = (into or args.work / "bundles") / "handbook" / version
    subprocess.run(["rm", "-rf", str(target)], check=True)
    command = [args.fraudd, "model", "pack", "--model", work / "model.onnx", "--schema", SCHEMA, "--golden", work / "golden.jsonl"]
    command += ["--training", work / "profile.parquet", "--facts", work / "facts.json", "--card", work / "CARD.md", "--name", "handbook"]
    command += ["--version", version, "--role", "active", "--review", review, "--decline", decline, "--out", target]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return target


def calibrate(args, *options):
    """Runs `fraudd calibrate` with that bundle and returns what it says, and whether it found something to act on."""
    settings = {"MODELS__DIRECTORY": args.work / "bundles", "MODELS__ACTIVE": "handbook/watched", "MODELS__STANDBY": "",
                "FILES__RULES": args.work / "watched/no-rules.toml", "TELEMETRY__LOG__FILTER": "warn"}
    environment = {**os.environ, **{f"FRAUDD__{key}": str(value) for key, value in settings.items()}}
    command = [args.fraudd, "calibrate", *options, "--set", "currency=EUR"]
    command += [part for column in COLUMNS for part in ("--map", column)]
    done = subprocess.run([str(part) for part in command], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"fraudd calibrate ended with {done.returncode}")
    return done.stdout


def tampered(raw):
    """Copies of the stream in which something is wrong, and what must be found: alarms of which one has to act."""
    is_wrong = at(raw) >= WRONG
    for name, factor in (("x100", 100.0), ("x15", 1.5)):
        copy = raw.copy()
        copy.loc[is_wrong, "TX_AMOUNT"] = (copy.loc[is_wrong, "TX_AMOUNT"] * factor).round(2)
        yield name, copy, LABELLED, {"input_drift", "broken_feature"}
    copy = raw.copy()
    copy.loc[is_wrong, "CUSTOMER_ID"] += 1_000_000
    yield "rekeyed", copy, LABELLED, {"input_drift", "broken_feature"}


def labels_until(raw, path):
    """Writes the labels of what happened before the feed stopped."""
    known = raw[at(raw) < STOPPED]
    came = (at(known) + pandas.Timedelta(days=7)).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    with open(path, "w") as out:
        for number, fraud, when in zip(known["TRANSACTION_ID"], known["TX_FRAUD"], came):
            label = "fraud" if fraud else "legitimate"
            out.write(json.dumps({"transaction_id": str(number), "label": label, "occurred_at": when, "source": "feed"}) + "\n")


def acting(told):
    """The alarms to act on, in their order, each with the day it was raised."""
    lines = [line.split() for line in told.splitlines() if ": acting " in line]
    return [(words[words.index("acting") + 1], words[0][:10]) for words in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraudd", type=pathlib.Path, default=ROOT / "target/release/fraudd")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/handbook")
    parser.add_argument("--features", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.work = args.work.resolve()
    raw = pandas.read_parquet(HISTORY).drop(columns=["TX_FRAUD_SCENARIO"], errors="ignore")
    bundle(args, raw)
    stream, tolerances, wrong = args.work / "watched/stream.parquet", args.work / "watched/tolerances.toml", []
    raw[at(raw) < TRAIN[1]].to_parquet(stream)
    tolerances.write_text(calibrate(args, stream, *LABELLED, "--from", CALIBRATED))
    check = ["--check", "--config", tolerances, "--from", CHECKED]

    later = raw[at(raw) >= FIRST]
    later.to_parquet(stream)
    told = calibrate(args, stream, *LABELLED, *check)
    print("stationary:", told, sep="\n", flush=True)
    if acting(told):
        wrong.append("the stationary weeks raised something to act on")

    short = later[at(later) < LAST]
    for name, copy, labelled, meant in tampered(short):
        copy.to_parquet(stream)
        told = calibrate(args, stream, *labelled, *check)
        print(f"{name}:", told, sep="\n", flush=True)
        early = [alarm for alarm, day in acting(told) if day < WRONG]
        if early or not meant & {alarm for alarm, _ in acting(told)}:
            wrong.append(f"{name}: early {early}, found {acting(told)}, meant {sorted(meant)}")

    labels = args.work / "watched/labels.jsonl"
    labels_until(short, labels)
    short.drop(columns=["TX_FRAUD"]).to_parquet(stream)
    told = calibrate(args, stream, "--labels", labels, *check)
    print("stopped:", told, sep="\n", flush=True)
    found = {alarm for alarm, _ in acting(told)}
    if "label_feed" not in found or found & {"quality_lost", "calibration_off"}:
        wrong.append(f"stopped: found {sorted(found)}")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
