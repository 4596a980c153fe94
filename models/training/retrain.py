"""Learns a successor from recorded decisions and matured labels, and hands it over as a signed candidate.

    retrain.py --set set.parquet --schema features.toml --models models --name card-fraud --key signing.key \\
               [--fraudd fraudd] [--request request.json] [--also features.parquet] [--seconds 120]

    |<------------- learn from ------------->|<-- newest slice -->|     all of it mature
    each setting is fitted here               and judged here, beside what the active model said then

The set is `fraudd training-set`'s: features as they were, weights, only mature rows. Settings are tried in order until the
time is used; the best average precision on the newest slice wins. The bundle's golden rows are of that slice, which the
model has never seen. It is packed and signed in MODELS/.staging and moved to MODELS/NAME/VERSION whole.

Ends with 0 (a line of JSON names the bundle), 3 (nothing is better than what answers), 4 (too little to learn from); anything
else is a failure.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy
import pandas
from sklearn.metrics import average_precision_score, roc_auc_score

import estimators
import table as tables
import train

NOTHING_BETTER, TOO_LITTLE = 3, 4
# Golden rows need a hundred frauds, and the slice may take a third of all.
SLICE_FRAUDS_MIN, SLICE_FRAUDS_MAX, SLICE_SHARE = train.GOLDEN_FRAUDS_MIN, 600, 0.25
FRAUDS_MIN = 3 * SLICE_FRAUDS_MIN
# Below this many frauds a comparison with the active model says nothing.
COMPARED_FRAUDS_MIN = 30
# More frauds of one entity than this, or this share of all, weigh no more: nobody teaches the model alone.
ENTITY_FRAUDS_MAX, ENTITY_SHARE_MAX = 20.0, 0.02
ROWS_MAX = 2_000_000

# The first is always tried. They are few and apart from each other: this is a search by somebody in a hurry.
SETTINGS = [
    ("xgboost", {"trees": 100, "depth": 3, "rate": 0.1}),
    ("xgboost", {"trees": 300, "depth": 3, "rate": 0.05}),
    ("xgboost", {"trees": 150, "depth": 5, "rate": 0.1}),
    ("lightgbm", {"trees": 200, "leaves": 15, "rate": 0.05}),
    ("xgboost", {"trees": 300, "depth": 6, "rate": 0.03}),
    ("lightgbm", {"trees": 400, "leaves": 31, "rate": 0.03}),
    ("xgboost", {"trees": 500, "depth": 4, "rate": 0.05}),
]


class TooLittle(Exception):
    """There is not enough to learn from."""


class NothingBetter(Exception):
    """The active model is as good."""


@dataclasses.dataclass
class Learned:
    """The winner and what it was judged on."""

    family: str
    settings: dict
    model: object
    tried: list
    train: pandas.DataFrame
    slice: pandas.DataFrame
    scores: numpy.ndarray
    average_precision: float
    # The active model on the same rows, where its scores are on record.
    beside: float | None
    candidate_beside: float | None


def say(text):
    print(text, file=sys.stderr, flush=True)


def read(path, also=None):
    """The set in the order of time; labels 1 or 0, weights, and scores of whoever decided."""
    parts = [tables.read(part) for part in ([path] if also is None else [also, path])]
    table = pandas.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    # A decision on record stands before a row made of history.
    table = table.drop_duplicates("transaction_id", keep="last").sort_values("occurred_at", kind="stable").reset_index(drop=True)
    table["label"] = table["label"].fillna(0.0)
    for column, empty in (("weight", 1.0), ("score", numpy.nan), ("entity", "")):
        table[column] = table[column].fillna(empty) if column in table else empty
    return table


def newest_slice(table):
    """Where the newest slice begins: so many frauds that golden rows and a verdict can rest on it."""
    frauds = table.loc[table["label"] == 1, "occurred_at"]
    if len(frauds) < FRAUDS_MIN:
        raise TooLittle(f"{len(frauds)} mature frauds are fewer than {FRAUDS_MIN}")
    wanted = min(max(len(frauds) * SLICE_SHARE, SLICE_FRAUDS_MIN * 1.5), len(frauds) / 3, SLICE_FRAUDS_MAX)
    begin = frauds.iloc[-int(wanted)]
    if (table["label"].to_numpy()[(table["occurred_at"] < begin).to_numpy()] == 1).sum() < SLICE_FRAUDS_MIN:
        raise TooLittle("nearly all frauds happened at one instant: there is no older part to learn from")
    return begin


def weights(part):
    """What each row weighs: by its share, and no entity's frauds more than a bound."""
    weight = part["weight"].to_numpy(dtype=float).copy()
    fraud = (part["label"] == 1).to_numpy()
    known = fraud & (part["entity"] != "").to_numpy()
    if known.any():
        most = max(ENTITY_FRAUDS_MAX, ENTITY_SHARE_MAX * weight[fraud].sum())
        entity = part["entity"].where(known, "")
        sums = pandas.Series(weight).groupby(entity.to_numpy()).transform("sum").to_numpy()
        weight[known] *= numpy.minimum(1.0, most / sums[known])
    return weight


def thinned(part, rows_max=ROWS_MAX):
    """At most so many rows: all frauds, and genuine ones that stand for those left out."""
    if len(part) <= rows_max:
        return part
    fraud = (part["label"] == 1).to_numpy()
    genuine = numpy.flatnonzero(~fraud)
    room = max(rows_max - int(fraud.sum()), 1)
    kept = numpy.random.default_rng(0).choice(genuine, min(room, len(genuine)), replace=False)
    places = numpy.sort(numpy.concatenate([numpy.flatnonzero(fraud), kept]))
    part = part.iloc[places].copy()
    part.loc[part["label"] != 1, "weight"] *= len(genuine) / len(kept)
    return part


def build(family, settings):
    return {"xgboost": estimators.boosted, "lightgbm": estimators.light}[family](**settings)


def learn(table, names, seconds, settings=None):
    """Fits the settings until the time is used, and judges each on the newest slice."""
    begin = newest_slice(table)
    older, newest = table[table["occurred_at"] < begin], table[table["occurred_at"] >= begin]
    older = thinned(older)
    rows, truth, weight = older[names].to_numpy(numpy.float32), older["label"].to_numpy().astype(int), weights(older)
    judged, judged_truth = newest[names].to_numpy(numpy.float32), newest["label"].to_numpy().astype(int)
    judged_weight = newest["weight"].to_numpy(dtype=float)
    settings = settings or SETTINGS
    started, slowest, tried, best = time.monotonic(), 0.0, [], None
    for place, (family, setting) in enumerate(settings):
        if place > 0 and time.monotonic() - started + slowest > seconds:
            say(f"retrain: {len(tried)} of {len(settings)} settings tried, the time is used")
            break
        began = time.monotonic()
        model = build(family, setting)
        model.fit(rows, truth, sample_weight=weight)
        scores = estimators.probability(model, judged)
        precision = float(average_precision_score(judged_truth, scores, sample_weight=judged_weight))
        slowest = max(slowest, time.monotonic() - began)
        tried.append({"family": family, **setting, "average_precision": round(precision, 4)})
        if best is None or precision > best[0]:
            best = (precision, family, setting, model, scores)
        say(f"retrain: setting {place + 1} of {len(settings)}, {family} {setting}: average precision {precision:.4f}, best {best[0]:.4f}")
    precision, family, setting, model, scores = best
    beside, own = compared(newest, scores)
    return Learned(family, setting, model, tried, older, newest, scores, precision, beside, own)


def compared(newest, scores):
    """Average precision of the scores on record and of the candidate's, on the rows that have one."""
    known = newest["score"].notna().to_numpy()
    truth = newest["label"].to_numpy().astype(int)
    if truth[known].sum() < COMPARED_FRAUDS_MIN or truth[known].sum() == known.sum():
        return None, None
    weight = newest["weight"].to_numpy(dtype=float)[known]
    precision = lambda said: float(average_precision_score(truth[known], said[known], sample_weight=weight))
    return precision(newest["score"].to_numpy(dtype=float)), precision(scores)


def card_text(learned, facts, limits, source):
    training, figures = facts["training"], facts["metrics"]
    beside = "no score of the active model is on record there" if learned.beside is None else f"the active model's scores reach {learned.beside:.3f}"
    tried = "\n".join(f"| {row['family']} | {', '.join(f'{key} {value}' for key, value in row.items() if key not in ('family', 'average_precision'))} | {row['average_precision']:.4f} |" for row in learned.tried)
    return f"""# Model card: {learned.family}, retrained

**Use.** Scores card transactions 0..1 for `fraudd`; rules and people decide with it. Not for credit decisions, not for
other channels than those in its data.

**Data.** {source}. Learned from {training["from"]} to {training["to"]}: {training["rows"]} rows, {training["frauds"]} frauds, features as
they were at decision time, labels mature.

**Protocol.** Judged on the newest slice, {len(learned.slice)} rows with {int(learned.slice["label"].sum())} frauds, which it has not
seen; average precision {figures["average_precision"]:.3f}, and {beside}. Golden rows are of that slice.

| family | settings | average precision |
|---|---|---|
{tried}

**Thresholds.** Review from {limits[0]}, decline from {limits[1]}.

**Limits.** Declined transactions have labels only where people gave them or a control share let them through.
"""


def facts_of(learned, delay_days):
    truth, weight = learned.slice["label"].to_numpy().astype(int), learned.slice["weight"].to_numpy(dtype=float)
    return {
        "trainer": estimators.trainer(learned.family),
        "metrics": {"average_precision": learned.average_precision, "auc": float(roc_auc_score(truth, learned.scores, sample_weight=weight))},
        "training": {
            "from": learned.train["occurred_at"].iloc[0].isoformat(timespec="seconds"),
            "to": learned.train["occurred_at"].iloc[-1].isoformat(timespec="seconds"),
            "rows": len(learned.train),
            "frauds": int(learned.train["label"].sum()),
            "label_delay_days": float(delay_days),
        },
    }


def golden(learned, names):
    rows, truth = learned.slice[names].to_numpy(numpy.float32), learned.slice["label"].to_numpy()
    shares = learned.slice["weight"].to_numpy(dtype=float)
    return train.golden_rows(rows, learned.scores, truth, numpy.random.default_rng(0), shares)


def write(learned, names, args, delay_days, work):
    """The trainer's files for `fraudd model pack`; the arguments that go with them."""
    limits = train.thresholds(learned.scores, args.review_rate, args.decline_rate)
    facts = facts_of(learned, delay_days)
    work.mkdir(parents=True, exist_ok=True)
    (work / "model.onnx").write_bytes(estimators.to_onnx_bytes(learned.model, len(names)))
    (work / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in golden(learned, names)))
    learned.train[names].astype(numpy.float32).to_parquet(work / "profile.parquet", compression="zstd")
    (work / "facts.json").write_text(json.dumps(facts, indent=1))
    source = f"Decisions recorded by the service{', request ' + args.request_id if args.request_id else ''}"
    (work / "MODEL_CARD.md").write_text(card_text(learned, facts, limits, source))
    return limits


def hand_over(args, version, work, limits):
    """Packs and signs out of sight, then moves the whole bundle to its place."""
    staged = args.models / ".staging" / f"{args.name}-{version}-{os.getpid()}"
    target = args.models / args.name / version
    if target.exists():
        raise SystemExit(f"retrain: {target} is there already; choose another --version")
    fraudd = [str(args.fraudd), "model"]
    pack = ["pack", "--model", work / "model.onnx", "--schema", args.schema, "--golden", work / "golden.jsonl"]
    pack += ["--training", work / "profile.parquet", "--facts", work / "facts.json", "--card", work / "MODEL_CARD.md"]
    pack += ["--name", args.name, "--version", version, "--role", "candidate", "--review", limits[0], "--decline", limits[1]]
    try:
        subprocess.run([*fraudd, *map(str, pack), "--out", str(staged)], check=True, stdout=sys.stderr)
        if args.key:
            subprocess.run([*fraudd, "sign", str(staged), "--key", str(args.key)], check=True, stdout=sys.stderr)
        else:
            say("retrain: no --key: an unsigned bundle is never promoted by itself")
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return target


def version_of(table, args):
    """Made of what was learned from: the newest row's day, and a hash of the set and its request."""
    content = hashlib.sha256()
    content.update(pandas.util.hash_pandas_object(table[["transaction_id", "label", "weight"]], index=False).to_numpy().tobytes())
    content.update((args.request_id or "").encode())
    return f"{table['occurred_at'].iloc[-1].strftime('%Y.%m.%d')}-{content.hexdigest()[:8]}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True, type=pathlib.Path, help="Parquet of `fraudd training-set`")
    parser.add_argument("--also", type=pathlib.Path, help="older rows: CSV or Parquet of `fraudd features`, mature ones only")
    parser.add_argument("--schema", required=True, type=pathlib.Path)
    parser.add_argument("--request", type=pathlib.Path, help="the service's request; its maturity is told in the bundle")
    parser.add_argument("--models", required=True, type=pathlib.Path, help="the watched directory of bundles")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--version", help="made of the rows without")
    parser.add_argument("--key", type=pathlib.Path, help="the secret key of `fraudd model keygen`")
    parser.add_argument("--fraudd", default="fraudd", help="the binary")
    parser.add_argument("--work", type=pathlib.Path, help="scratch directory; one that goes away without")
    parser.add_argument("--seconds", type=float, default=120, help="time for the search; the first setting is always tried")
    parser.add_argument("--review-rate", type=float, default=0.02, help="share of transactions to review or decline")
    parser.add_argument("--decline-rate", type=float, default=0.007, help="share of transactions to decline")
    parser.add_argument("--maturity-days", type=float, default=7)
    parser.add_argument("--better-by", type=float, default=0.0, help="how much better than the active model, in average precision")
    args = parser.parse_args()
    args.request_id, args.models = "", args.models.resolve()
    if args.request:
        request = json.loads(args.request.read_text())
        args.request_id = request["id"]
        args.maturity_days = pandas.Timedelta(request["maturity"]).total_seconds() / 86_400
    return args


def retrain(args, work):
    names = tables.inputs(args.schema)
    table = read(args.set, args.also)
    missing = [name for name in names if name not in table]
    if missing:
        raise SystemExit(f"retrain: {args.set} has no column {missing[0]}: was it made with this schema?")
    learned = learn(table, names, args.seconds)
    if learned.beside is not None and learned.candidate_beside <= learned.beside + args.better_by:
        raise NothingBetter(f"average precision {learned.candidate_beside:.4f}, the active model {learned.beside:.4f} on the same rows")
    version = args.version or version_of(table, args)
    limits = write(learned, names, args, args.maturity_days, work)
    bundle = hand_over(args, version, work, limits)
    done = {"outcome": "delivered", "bundle": str(bundle), "name": args.name, "version": version, "family": learned.family}
    done |= {"average_precision": learned.average_precision, "active_average_precision": learned.beside}
    print(json.dumps(done), flush=True)


def main():
    args = arguments()
    work = args.work or args.models / ".staging" / f"work-{os.getpid()}"
    try:
        retrain(args, work)
    except TooLittle as why:
        print(json.dumps({"outcome": "too_little", "reason": str(why)}), flush=True)
        sys.exit(TOO_LITTLE)
    except NothingBetter as why:
        print(json.dumps({"outcome": "nothing_better", "reason": str(why)}), flush=True)
        sys.exit(NOTHING_BETTER)
    finally:
        if not args.work:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
