"""What both Python stream peers share: a batch of records in, decisions and what restores them out.

    bodies ──scorer.py──> features one after another ──> one inference for all ──> rules, outcome, JSON each

A transaction id counts once. State is rebuilt from the bodies of what was decided: the changelog holds them, one
record a partition and transaction, which costs less than any record per entity would. Both peers run as one
instance: every partition's entities are in one process.
"""

import gc
import pathlib
import sys
import time
from datetime import UTC, datetime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy
import orjson

from scorer import FUTURE_MICROS_MAX, PARSE, Core, ValidationError, decision_id, load, micros

JSON_HEADERS = [("ce_specversion", b"1.0"), ("content-type", b"application/json")]


class StreamScorer(Core):
    """Decides batches; `known` ids are not decided again."""

    def __init__(self):
        super().__init__(*load())
        # State only grows and holds no cycles: searching it for garbage again and again would cost more than it frees.
        gc.freeze()
        gc.set_threshold(100_000, 50, 1_000)

    def decide(self, bodies):
        """One entry a body: (id, outcome, JSON), None for a duplicate, a text for what cannot be decided."""
        began = time.perf_counter_ns()
        told, found, rows = [None] * len(bodies), [], []
        known, observe = self.features.events, self.features.observe
        columns = self.model.columns
        future = time.time_ns() // 1000 + FUTURE_MICROS_MAX
        for place, body in enumerate(bodies):
            try:
                tx = PARSE(body)
                occurred_at = micros(tx["occurred_at"])
            except (ValidationError, ValueError) as error:
                told[place] = str(error)
                continue
            if occurred_at > future:
                told[place] = "more than 5 minutes ahead"
            elif tx["transaction_id"] not in known:
                features = observe(tx, occurred_at)
                rows.append([default if (value := features[name]) != value else value for name, default in columns])
                found.append((place, tx, features))
        if not found:
            return told
        extracted = time.perf_counter_ns()
        rows = numpy.array(rows, dtype=numpy.float32)
        scores = self.model.score(rows)
        scored = time.perf_counter_ns()
        spent = {"features": (extracted - began) // len(found) // 1000, "model": (scored - extracted) // len(found) // 1000}
        for at, (place, tx, features) in enumerate(found):
            outcome, decision = self.conclude(tx, features, rows[at : at + 1], float(scores[at]), began, spent)
            told[place] = (tx["transaction_id"], outcome, decision)
        return told

    def replay(self, body):
        """Counts a transaction that was decided before."""
        tx = orjson.loads(body)
        if tx["transaction_id"] not in self.features.events:
            self.features.observe(tx, micros(tx["occurred_at"]))


def now_text():
    return datetime.now(UTC).isoformat().replace("+00:00", "Z").encode()


def headers(kind, source, transaction_id, now):
    """CloudEvents in binary mode."""
    return [
        *JSON_HEADERS,
        ("ce_type", kind),
        ("ce_source", source),
        ("ce_id", decision_id(transaction_id).encode()),
        ("ce_time", now),
    ]
