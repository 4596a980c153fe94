"""The fraud-detection handbook's protocol: known-card removal, prequential folds, its three figures.

    handbook.py check        reproduces two published rows of chapter 3 within .002: run it before any figure of ours
    handbook.py prequential --features TABLE --schema SCHEMA [--train-days 7|28] [--family xgboost]

The data is read where it is (FRAUDD_REFERENCE_DATA, default ../shared/data beside the project) and never copied.
Functions are importable: the evaluation through the running service uses `folds`, `known_cards` and `metrics.evaluate`.
"""

import argparse
import os
import pathlib
import sys

import numpy
import pandas
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

import estimators
import metrics
import table as tables

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCE = pathlib.Path(os.environ.get("FRAUDD_REFERENCE_DATA", ROOT / "../shared/data")) / "handbook"
INPUTS = [
    "TX_AMOUNT", "TX_DURING_WEEKEND", "TX_DURING_NIGHT",
    "CUSTOMER_ID_NB_TX_1DAY_WINDOW", "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_7DAY_WINDOW", "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_30DAY_WINDOW", "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW",
    "TERMINAL_ID_NB_TX_1DAY_WINDOW", "TERMINAL_ID_RISK_1DAY_WINDOW",
    "TERMINAL_ID_NB_TX_7DAY_WINDOW", "TERMINAL_ID_RISK_7DAY_WINDOW",
    "TERMINAL_ID_NB_TX_30DAY_WINDOW", "TERMINAL_ID_RISK_30DAY_WINDOW",
]
FIRST_DAY = pandas.Timestamp("2018-04-01")
TEST_STARTS = ["2018-08-08", "2018-08-15", "2018-08-22", "2018-08-29"]
DELAY_DAYS = TEST_DAYS = 7
PUBLISHED = {"decision tree, depth 2": (0.763, 0.496, 0.241), "random forest, 100 trees": (0.867, 0.658, 0.287)}
TOLERANCE = 0.002


def day_of(date):
    return (pandas.Timestamp(date) - FIRST_DAY).days


def transactions():
    """Every transaction with its day."""
    columns = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TX_AMOUNT", "TX_FRAUD"]
    table = pandas.read_parquet(REFERENCE / "transactions_2018-04-01_2018-09-04.parquet", columns=columns)
    table["DAY"] = (pandas.to_datetime(table["TX_DATETIME"], unit="ms") - FIRST_DAY).dt.days
    return table


def known_cards(table, train_start, test_start, train_days=7):
    """For each test day the cards whose fraud is known by then: of the training window, and day by day after it.

    `table` has DAY, CUSTOMER_ID and TX_FRAUD of the training window and everything after it.
    """
    frauds = table[table["TX_FRAUD"] == 1]
    in_training = (frauds["DAY"] >= train_start) & (frauds["DAY"] < train_start + train_days)
    known = set(frauds.loc[in_training, "CUSTOMER_ID"])
    cards = {}
    for offset in range(TEST_DAYS):
        returned = test_start + offset - DELAY_DAYS - 1
        known |= set(frauds.loc[frauds["DAY"] == returned, "CUSTOMER_ID"])
        cards[test_start + offset] = set(known)
    return cards


def without_known_cards(test, cards):
    """The test rows of cards not yet known to be compromised."""
    keep = [card not in cards[day] for card, day in zip(test["CUSTOMER_ID"], test["DAY"])]
    return test[keep]


def fold(table, test_start, train_days=7):
    """Training and test rows of one fold; the 7-day window is the handbook's, longer ones end where it ends."""
    start = day_of(test_start)
    train_end = start - DELAY_DAYS
    train_start = train_end - train_days
    train = table[(table["DAY"] >= train_start) & (table["DAY"] < train_end)]
    test = table[(table["DAY"] >= start) & (table["DAY"] < start + TEST_DAYS)]
    # Known cards are those of the week before the delay, whatever the training window: the same test rows for all.
    return train, without_known_cards(test, known_cards(table, train_end - 7, start))


def figures(model, train, test, inputs):
    """Fits on the training rows and gives the three figures on the test rows."""
    model.fit(train[inputs].to_numpy(numpy.float32), train["TX_FRAUD"])
    scores = model.predict_proba(test[inputs].to_numpy(numpy.float32))[:, 1]
    return metrics.evaluate(*(test[column].to_numpy() for column in ("DAY", "CUSTOMER_ID")), scores, test["TX_FRAUD"].to_numpy())


def golden_table():
    """The three weeks whose published features are at hand."""
    golden = pandas.read_parquet(REFERENCE / "golden_features_2018-07-25_2018-08-14.parquet")
    known = [column for column in golden.columns if column not in ("TX_AMOUNT", "TX_FRAUD", "CUSTOMER_ID", "TX_DATETIME")]
    return golden[known].merge(transactions(), on="TRANSACTION_ID")


def check():
    """Reproduces the published rows; exits 1 when one is off."""
    table = golden_table()
    train, test = fold(table, "2018-08-08")
    print(f"train {len(train)} rows, {train['TX_FRAUD'].sum()} frauds; test {len(test)} rows, {test['TX_FRAUD'].sum()} frauds")
    # Float64 here: the published trees were fitted on doubles.
    models = [DecisionTreeClassifier(max_depth=2, random_state=0), RandomForestClassifier(100, random_state=0, n_jobs=2)]
    wrong = 0
    for (name, published), model in zip(PUBLISHED.items(), models):
        model.fit(train[INPUTS], train["TX_FRAUD"])
        scores = model.predict_proba(test[INPUTS])[:, 1]
        found = metrics.evaluate(test["DAY"].to_numpy(), test["CUSTOMER_ID"].to_numpy(), scores, test["TX_FRAUD"].to_numpy())
        off = max(abs(a - b) for a, b in zip(found.values(), published))
        wrong += off > TOLERANCE
        print(f"{name}: {' '.join(f'{value:.3f}' for value in found.values())}, published {published}, off by {off:.4f}")
    sys.exit(1 if wrong else 0)


def prequential(args):
    """The four test weeks, on features computed by fraudd (columns transaction_id and the schema's inputs)."""
    inputs = tables.inputs(args.schema)
    features = pandas.read_parquet(args.features, columns=["transaction_id", *inputs])
    features["TRANSACTION_ID"] = features.pop("transaction_id").astype(int)
    table = features.merge(transactions(), on="TRANSACTION_ID")
    rows = []
    for start in TEST_STARTS:
        train, test = fold(table, start, args.train_days)
        rows.append(figures(estimators.make(args.family, train[inputs].to_numpy()), train, test, inputs))
        print(start, " ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()))
    mean = pandas.DataFrame(rows).mean()
    print("mean      ", " ".join(f"{name} {value:.3f}" for name, value in mean.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check")
    run = commands.add_parser("prequential")
    run.add_argument("--features", required=True, help="Parquet of `fraudd features`")
    run.add_argument("--schema", required=True)
    run.add_argument("--train-days", type=int, default=7)
    run.add_argument("--family", choices=sorted(estimators.FAMILIES), default="xgboost")
    args = parser.parse_args()
    if not REFERENCE.is_dir():
        print(f"skipped: no reference data at {REFERENCE}")
    elif args.command == "check":
        check()
    else:
        prequential(args)


if __name__ == "__main__":
    main()
