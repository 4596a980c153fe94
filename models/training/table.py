"""Training tables as `fraudd features` writes them, and their split by time.

    |<-- train -->|<-- delay -->|<-- validation -->|<-- test -->|
                  labels arrive  thresholds         figures

Never split at random: a row's neighbours in time share its cards and terminals. A training label counts only if it was
known when the training window's delay was over.
"""

import dataclasses
import pathlib
import tomllib

import numpy
import pandas

FRAUD = {"fraud", "chargeback", "1", "true", "1.0"}
GENUINE = {"legitimate", "false_positive", "0", "false", "0.0"}
DAY = pandas.Timedelta(days=1)


def inputs(schema):
    """The model inputs of a schema file, in order."""
    features = tomllib.loads(pathlib.Path(schema).read_text())["feature"]
    return [feature["name"] for feature in features if feature.get("input", True)]


def read(path):
    """A table with occurred_at and label_at as times and label as 1, 0 or missing."""
    path = pathlib.Path(path)
    table = pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path)
    for column in ("occurred_at", "label_at"):
        if column not in table:
            raise SystemExit(f"{path} has no column {column}: write it with `fraudd features`")
        if pandas.api.types.is_numeric_dtype(table[column]):
            table[column] = pandas.to_datetime(table[column], unit="us", utc=True)
        else:
            table[column] = pandas.to_datetime(table[column], utc=True, format="ISO8601")
    words = table["label"].astype("string").str.lower()
    table["label"] = numpy.where(words.isin(FRAUD), 1.0, numpy.where(words.isin(GENUINE), 0.0, numpy.nan))
    return table.sort_values("occurred_at", kind="stable").reset_index(drop=True)


@dataclasses.dataclass
class Split:
    train: pandas.DataFrame
    validation: pandas.DataFrame
    test: pandas.DataFrame


def split(table, train_days, delay_days, validation_days=7, test_days=7):
    """Splits by time, back from the last whole day."""
    end = table["occurred_at"].max().floor("D") + DAY
    test = end - test_days * DAY
    validation = test - validation_days * DAY
    train_end = validation - delay_days * DAY
    train = train_end - train_days * DAY
    at, known = table["occurred_at"], table["label_at"]
    if table["occurred_at"].min() >= train + DAY:
        raise SystemExit(f"the table begins at {table['occurred_at'].min()}, after the training window's start {train}")
    rows = table[(at >= train) & (at < train_end)]
    # What nobody has complained about by the end of the delay counts as genuine; so does a label from the future.
    labels = numpy.where(rows["label_at"] < validation, rows["label"], 0.0)
    rows = rows.assign(label=numpy.nan_to_num(labels, nan=0.0))
    later = table.assign(label=table["label"].fillna(0.0))
    return Split(rows, later[(at >= validation) & (at < test)], later[(at >= test) & (at < end)])
