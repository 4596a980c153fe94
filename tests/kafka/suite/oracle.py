"""What the features must be: recomputed from plain lists, with nothing of fraudd but the names in the schema.

Events are taken in the order of their partition's log. For each one every feature is counted out over all events of its
entity that came before, as of its own time. Slow and obvious on purpose.
"""

import bisect
import fractions
import math
import statistics
import tomllib

from suite.traffic import micros_of

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DECLINED = 'has(tx.authorisation.result) && tx.authorisation.result != "approved"'
WHERE = {
    DECLINED: lambda event: event.body.get("authorisation", {}).get("result", "approved") != "approved",
    "has(tx.location.lat)": lambda event: "lat" in event.body.get("location", {}),
}
# Entities that traffic keeps to one customer, and so to one partition.
OWN = ("customer", "card", "device", "email")
SHARED = ("terminal",)


def micros(text):
    return int(text[:-1]) * UNITS[text[-1]] * 1_000_000


def field(body, path):
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


class Event:
    def __init__(self, body, order):
        self.body, self.order, self.time = body, order, micros_of(body["occurred_at"])

    def __lt__(self, other):
        return (self.time, self.order) < (other.time, other.order)

    def value(self, column, rates):
        if column != "base_amount":
            return field(self.body, column)
        return self.body["amount"] if self.body["currency"] in rates else None


class Oracle:
    """State of one log, event by event."""

    def __init__(self, schema, kinds=OWN, rates=("EUR",)):
        text = tomllib.loads(schema.read_text())
        self.rates, self.nothing = rates, text["missing"]
        self.keys = {entity["name"]: entity["key"] for entity in text["entity"] if entity["name"] in kinds}
        known = lambda one: "aggregate" in one and one.get("entity") in self.keys and "resolution" not in one
        self.features = [one for one in text["feature"] if known(one)]
        self.amounts = [one for one in text["feature"] if one.get("field") == "base_amount"]
        self.events = {kind: {} for kind in self.keys}
        self.labels, self.order = {}, 0

    def label(self, label):
        kind = label["label"] in ("fraud", "chargeback")
        self.labels.setdefault(label["transaction_id"], []).append((micros_of(label["occurred_at"]), kind))

    def take(self, body, late=False):
        """Returns the features of a transaction as of itself, as (value, is missing) by name, and keeps it unless late."""
        self.order += 1
        event = Event(body, self.order)
        rows = {}
        for kind, path in self.keys.items():
            key = field(body, path)
            if key is not None:
                rows[kind] = self.events[kind].setdefault(key, [])
                bisect.insort(rows[kind], event)
        vector = {one["name"]: self._told(one, self._measure(one, event, rows.get(one["entity"]))) for one in self.features}
        for one in self.amounts:
            base = event.value("base_amount", self.rates)
            vector[one["name"]] = self._told(one, None if base is None else _ratio(base, one.get("divide_by", 1)))
        if late:
            for row in rows.values():
                row.remove(event)
        return vector

    def _told(self, feature, value):
        return (feature.get("missing", self.nothing), True) if value is None else (value, False)

    def _measure(self, feature, event, row):
        if row is None:
            return None
        events = self._window(feature, event, row)
        if events is None:
            return None
        measure, column, scale = feature["aggregate"], feature.get("column"), feature.get("divide_by", 1)
        if measure == "rate_of_fraud":
            return sum(1 for one in events if self._known(one, event.time)) / len(events) if events else None
        if measure == "time_since":
            return (event.time - events[-1].time) / 1e6 if events else None
        values = [one.value(column, self.rates) for one in events] if column else [1] * len(events)
        values = [value for value in values if value is not None]
        if measure in ("count", "distinct"):
            return float(len(values) if measure == "count" else len(set(values)))
        if measure == "sum":
            return _ratio(sum(values), scale)
        if not values:
            return None
        if measure == "last":
            return float(values[-1])
        if measure == "mean":
            return _ratio(sum(values), scale * len(values))
        if measure == "std":
            return math.sqrt(statistics.pvariance([fractions.Fraction(value, scale) for value in values]))
        raise ValueError(f"the oracle does not know {measure}")

    def _window(self, feature, event, row):
        """The events a feature looks at, oldest first; None when it cannot look at all."""
        end = event.time - micros(feature.get("delay", "0s"))
        begin = end - micros(feature["window"])
        current = feature.get("include_current", True) and not ({"delay", "labels"} & feature.keys())
        current = current and feature["aggregate"] != "time_since"
        row = row[bisect.bisect_right(row, begin, key=_time) : bisect.bisect_right(row, end, key=_time)]
        events = row if current else [one for one in row if one is not event]
        if "where" in feature:
            events = [one for one in events if WHERE[feature["where"]](one)]
        if "same" in feature:
            own = field(event.body, feature["same"])
            if own is None:
                return None
            events = [one for one in events if field(one.body, feature["same"]) == own]
        if "labels" in feature:
            wanted = {"known": (True, False), "fraud": (True,), "genuine": (False,)}[feature["labels"]]
            events = [one for one in events if self._known(one, event.time) in wanted]
        return events[-feature["last"] :] if "last" in feature else events

    def _known(self, event, when):
        """Whether an event is known to be fraud at a time: the newest label by then; of two of one instant fraud stands."""
        told = [label for label in self.labels.get(event.body["transaction_id"], []) if label[0] <= when]
        return max(told)[1] if told else None


def _time(event):
    return event.time


def _ratio(whole, by):
    return float(fractions.Fraction(whole, by))


def differences(expected, published):
    """The features of a published vector that are not what they must be, as (name, expected, found)."""
    values, missing = published.get("features", {}), published.get("missing", ())
    found = {name: (values.get(name), name in missing) for name in expected}
    return [(name, right, found[name]) for name, right in expected.items() if found[name][1] != right[1] or not _same(right[0], found[name][0])]


def _same(expected, found):
    """Equal to the bit; means and deviations, which are rounded more than once, to 1e-12."""
    return isinstance(found, (int, float)) and (found == expected or math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12))
