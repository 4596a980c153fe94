"""Fits one model on a table of `fraudd features`, exports it to ONNX and writes what `fraudd model pack` needs.

    train.py --table features.parquet --schema features.toml --family xgboost --out DIR [--history transactions.jsonl]

Written into DIR: model.onnx, golden.jsonl (raw float32 rows with this library's own predict_proba), profile.parquet,
facts.json, MODEL_CARD.md, thresholds.txt (the arguments for pack).
"""

import argparse
import json
import pathlib

import numpy
import pandas

import estimators
import metrics
import table as tables

DECLINE_MAX = 0.99
GOLDEN_FRAUDS_MAX, GOLDEN_GENUINE_MAX, GOLDEN_FRAUDS_MIN = 300, 1200, 100


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="CSV or Parquet of `fraudd features`")
    parser.add_argument("--schema", required=True, help="the schema it was made with")
    parser.add_argument("--history", help="the transactions as JSON Lines: for the card of each, else its customer")
    parser.add_argument("--family", choices=sorted(estimators.FAMILIES), default="xgboost")
    parser.add_argument("--train-days", type=int, default=28)
    parser.add_argument("--delay-days", type=int, default=7, help="how long labels take to arrive")
    parser.add_argument("--review-rate", type=float, default=0.02, help="share of validation transactions to review or decline")
    parser.add_argument("--decline-rate", type=float, default=0.007, help="share of validation transactions to decline")
    parser.add_argument("--data", default="fraudd simulate", help="where the data comes from, for the model card")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def cards_of(history, transaction_ids):
    """The card of each transaction: its token, else its customer."""
    cards = {}
    with open(history) as lines:
        for line in lines:
            transaction = json.loads(line)
            card = transaction.get("card", {}).get("token") or transaction.get("customer_id")
            cards[transaction["transaction_id"]] = card
    return numpy.array([cards[name] for name in transaction_ids])


def golden_rows(rows, probability, labels, random, shares=None):
    """A sample of frauds and genuine rows, each weighing what it stands for, in the order of time.

    `shares` are the rows' own weights, when not all stand for one transaction.
    """
    frauds, genuine = numpy.flatnonzero(labels == 1), numpy.flatnonzero(labels == 0)
    if len(frauds) < GOLDEN_FRAUDS_MIN:
        raise SystemExit(f"{len(frauds)} frauds in validation and test are fewer than {GOLDEN_FRAUDS_MIN}: simulate longer")
    for places, most in ((frauds, GOLDEN_FRAUDS_MAX), (genuine, GOLDEN_GENUINE_MAX)):
        chosen = numpy.sort(random.choice(places, min(most, len(places)), replace=False))
        weight = len(places) / len(chosen)
        for place in chosen:
            cells = [None if numpy.isnan(cell) else float(cell) for cell in rows[place]]
            own = weight if shares is None else weight * float(shares[place])
            yield {"row": cells, "label": bool(labels[place]), "probability": float(probability[place]), "weight": own}


def thresholds(scores, review_rate, decline_rate):
    """Scores that the given shares of transactions reach, low enough that a score can reach them at all."""
    review, decline = (min(float(numpy.quantile(scores, 1 - rate)), DECLINE_MAX) for rate in (review_rate, decline_rate))
    return round(min(review, decline), 4), round(max(review, decline), 4)


def card_text(args, split, facts, limits):
    training, figures = facts["training"], facts["metrics"]
    return f"""# Model card: {args.family}

**Use.** Scores card transactions 0..1 for `fraudd`; rules and people decide with it. Not for credit decisions, not for
other channels than those in its data.

**Data.** {args.data}. Training window {training["from"]} to {training["to"]}: {training["rows"]} rows, {training["frauds"]} frauds.

**Protocol.** Split by time, never at random: {args.train_days} days of training, {args.delay_days} days for labels to arrive (a
later label did not count), 7 days of validation for the thresholds, 7 days of test ({len(split.test)} rows,
{int(split.test["label"].sum())} frauds). Trained with {facts["trainer"]} on float32 rows.

**Figures on the test week.** AUC {figures["auc"]:.3f}, average precision {figures["average_precision"]:.3f}, card precision@100
{figures["card_precision_100"]:.3f}. Simulated fraud is easier than real fraud: expect much less in production.

**Thresholds.** Review from {limits[0]} ({args.review_rate:.1%} of validation transactions), decline from {limits[1]}
({args.decline_rate:.1%}).

**Limits.** Patterns absent from the data are not found. Features need their windows filled (`warming`). Declined
transactions get no label, so retraining sees a biased sample.
"""


def main():
    args = arguments()
    names = tables.inputs(args.schema)
    table = tables.read(args.table)
    split = tables.split(table, args.train_days, args.delay_days)
    rows = {part: getattr(split, part)[names].to_numpy(numpy.float32) for part in ("train", "validation", "test")}
    model = estimators.make(args.family, rows["train"])
    model.fit(rows["train"], split.train["label"].to_numpy().astype(int))

    scores = {part: estimators.probability(model, rows[part]) for part in ("validation", "test")}
    days = split.test["occurred_at"].dt.floor("D").to_numpy()
    if args.history:
        cards = cards_of(args.history, split.test["transaction_id"])
    else:
        cards = split.test["transaction_id"].to_numpy()
    labels = split.test["label"].to_numpy()
    training = {
        "from": split.train["occurred_at"].iloc[0].isoformat(timespec="seconds"),
        "to": split.train["occurred_at"].iloc[-1].isoformat(timespec="seconds"),
        "rows": len(split.train),
        "frauds": int(split.train["label"].sum()),
        "label_delay_days": float(args.delay_days),
    }
    facts = {
        "trainer": estimators.trainer(args.family),
        "metrics": metrics.evaluate(days, cards, scores["test"], labels),
        "training": training,
    }
    limits = thresholds(scores["validation"], args.review_rate, args.decline_rate)

    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(estimators.to_onnx_bytes(model, len(names)))
    both = numpy.vstack([rows["validation"], rows["test"]])
    truth = numpy.concatenate([split.validation["label"].to_numpy(), labels])
    said = numpy.concatenate([scores["validation"], scores["test"]])
    golden = golden_rows(both, said, truth, numpy.random.default_rng(0))
    (out / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in golden))
    pandas.DataFrame(rows["train"], columns=names).to_parquet(out / "profile.parquet", compression="zstd")
    (out / "facts.json").write_text(json.dumps(facts, indent=1))
    (out / "MODEL_CARD.md").write_text(card_text(args, split, facts, limits))
    (out / "thresholds.txt").write_text(f"--review {limits[0]} --decline {limits[1]}\n")
    print(json.dumps({"family": args.family, "review": limits[0], "decline": limits[1], **facts["metrics"]}))


if __name__ == "__main__":
    main()
