"""The handbook's four test weeks, scored through the running service.

    through_service.py --fraudd target/release/fraudd --work target/handbook --schema handbook --train-days 28

For each fold: a model is fitted on features of `fraudd features` (labels that had arrived only), exported, packed and
passed through the gates; a service is started with that bundle and the history before the test week as backfill; the
week's transactions are posted in order, in batches; the scores in its decisions are measured by the handbook's protocol.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy
import pandas

import estimators
import handbook
import metrics
import table as tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
HISTORY = handbook.REFERENCE / "transactions_2018-04-01_2018-09-04.parquet"
COLUMNS = ["transaction_id=TRANSACTION_ID", "occurred_at=TX_DATETIME:epoch_ms", "amount=TX_AMOUNT:major"]
COLUMNS += ["customer_id=CUSTOMER_ID", "merchant.terminal_id=TERMINAL_ID", "label=TX_FRAUD"]
BATCH = 1000
GOLDEN_ROWS = 15000


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def bundle(args, name, train, inputs):
    """Fits, exports and packs one model; its golden rows are its newest training rows: they hold our scores to the library's."""
    work = args.work / name
    work.mkdir(parents=True, exist_ok=True)
    newest = train[-GOLDEN_ROWS:]
    model = estimators.make(args.family, train[inputs].to_numpy(numpy.float32))
    model.fit(train[inputs].to_numpy(numpy.float32), train["TX_FRAUD"])
    (work / "model.onnx").write_bytes(estimators.to_onnx_bytes(model, len(inputs)))
    rows = newest[inputs].to_numpy(numpy.float32)
    with open(work / "golden.jsonl", "w") as out:
        for row, label, said in zip(rows, newest["TX_FRAUD"], estimators.probability(model, rows)):
            cells = [None if numpy.isnan(cell) else float(cell) for cell in row]
            out.write(json.dumps({"row": cells, "label": bool(label), "probability": float(said), "weight": 1.0}) + "\n")
    train[inputs].astype(numpy.float32).to_parquet(work / "profile.parquet")
    (work / "facts.json").write_text(json.dumps({"trainer": estimators.trainer(args.family), "metrics": {}, "training": {}}))
    (work / "CARD.md").write_text("# A model of the handbook's evaluation: not for use.\n")
    target = args.work / "bundles" / "handbook" / name
    subprocess.run(["rm", "-rf", str(target)], check=True)
    schema = ROOT / "models/schemas" / f"{args.schema}.toml"
    run(args.fraudd, "model", "pack", "--model", work / "model.onnx", "--schema", schema, "--golden", work / "golden.jsonl",
        "--training", work / "profile.parquet", "--facts", work / "facts.json", "--card", work / "CARD.md",
        "--name", "handbook", "--version", name, "--role", "active", "--review", 0.1, "--decline", 0.5, "--out", target)
    return f"handbook/{name}"


@contextlib.contextmanager
def service(args, model, history):
    """Runs fraudd with one bundle, no rules of its own, and history before the week in its windows."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rules = args.work / "no-rules.toml"
    rules.write_text("# The evaluation is of the model alone.\n")
    settings = {"MODELS__DIRECTORY": args.work / "bundles", "MODELS__ACTIVE": model, "MODELS__STANDBY": "",
                "FILES__RULES": rules, "LIMITS__DEADLINE": "5s", "LIMITS__MODEL_DEADLINE": "2s",
                "CONTRACT__AHEAD_MAX": "5m", "TELEMETRY__LOG__FILTER": "warn", "LIMITS__BATCH_BODY_MAX": "8MiB"}
    command = [args.fraudd, "serve", "--listen", f"127.0.0.1:{port}", "--backfill", history, "--set", "currency=EUR"]
    command += ["--label-delay", "7d", *(part for column in COLUMNS for part in ("--map", column))]
    environment = {**os.environ, **{f"FRAUDD__{key}": str(value) for key, value in settings.items()}}
    process = subprocess.Popen([str(part) for part in command], env=environment, cwd=ROOT)
    try:
        wait_until_ready(process, port)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_until_ready(process, port):
    for _ in range(3000):
        if process.poll() is not None:
            sys.exit("the service ended at start: see its log above")
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    sys.exit("the service was not ready within 300 s")


def scores_of(port, week):
    """Posts the week in order, in batches; the score of each decision."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    found = []
    times = pandas.to_datetime(week["TX_DATETIME"], unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    bodies = [
        {"transaction_id": str(number), "occurred_at": when, "amount": int(round(amount * 100)), "currency": "EUR",
         "customer_id": str(customer), "merchant": {"terminal_id": str(terminal)}}
        for number, when, amount, customer, terminal in zip(
            week["TRANSACTION_ID"], times, week["TX_AMOUNT"], week["CUSTOMER_ID"], week["TERMINAL_ID"])
    ]
    for start in range(0, len(bodies), BATCH):
        text = json.dumps({"transactions": bodies[start : start + BATCH]})
        connection.request("POST", "/v1/decisions:batch", text, {"content-type": "application/json"})
        answer = connection.getresponse()
        parsed = json.loads(answer.read())
        if answer.status != 200:
            sys.exit(f"the service answered {answer.status}: {parsed}")
        for result in parsed["results"]:
            decision = result.get("decision", result)
            if "score" not in decision:
                sys.exit(f"a decision without a score: {json.dumps(result)[:400]}")
            found.append(decision["score"])
    return numpy.array(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraudd", type=pathlib.Path, default=ROOT / "target/release/fraudd")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/handbook")
    parser.add_argument("--features", help="Parquet of `fraudd features`; WORK/SCHEMA.parquet by default")
    parser.add_argument("--schema", default="handbook")
    parser.add_argument("--train-days", type=int, default=28)
    parser.add_argument("--family", choices=sorted(estimators.FAMILIES), default="xgboost")
    args = parser.parse_args()
    if not HISTORY.is_file():
        return print(f"skipped: no reference data at {HISTORY}")
    args.work = args.work.resolve()
    inputs = tables.inputs(ROOT / "models/schemas" / f"{args.schema}.toml")
    features = pandas.read_parquet(args.features or args.work / f"{args.schema}.parquet", columns=["transaction_id", *inputs])
    features["TRANSACTION_ID"] = features.pop("transaction_id").astype(int)
    table = features.merge(handbook.transactions(), on="TRANSACTION_ID").sort_values("TRANSACTION_ID")
    raw = pandas.read_parquet(HISTORY)
    raw["DAY"] = (pandas.to_datetime(raw["TX_DATETIME"], unit="ms") - handbook.FIRST_DAY).dt.days
    rows = []
    for start in handbook.TEST_STARTS:
        train, test = handbook.fold(table, start, args.train_days)
        day = handbook.day_of(start)
        history = args.work / "history.parquet"
        raw[raw["DAY"] < day].drop(columns=["DAY", "TX_FRAUD_SCENARIO"]).to_parquet(history, compression="zstd")
        week = raw[(raw["DAY"] >= day) & (raw["DAY"] < day + handbook.TEST_DAYS)]
        model = bundle(args, f"{args.schema}-{args.train_days}d-{start}", train, inputs)
        with service(args, model, history) as port:
            scores = scores_of(port, week)
        by_id = pandas.Series(scores, index=week["TRANSACTION_ID"].to_numpy())
        measured = by_id.loc[test["TRANSACTION_ID"]].to_numpy()
        truth = (test[column].to_numpy() for column in ("DAY", "CUSTOMER_ID"))
        rows.append(metrics.evaluate(*truth, measured, test["TX_FRAUD"].to_numpy()))
        print(start, f"{len(week)} scored,", " ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    mean = pandas.DataFrame(rows).mean()
    print(f"{args.schema}, {args.train_days} d: mean", " ".join(f"{name} {value:.4f}" for name, value in mean.items()))


if __name__ == "__main__":
    main()
