"""Seeded transactions and labels, good and bad, as records for Feed.java.

Everything a customer uses (cards, devices, an e-mail) is the customer's alone, so that all events of one entity lie in one
partition and every feature of theirs has one right value, whatever is decided in between. Merchants and terminals are shared.
A header `suite` says what a record was meant to be; the verifier takes poison at this word and works all else out itself.
"""

import base64
import datetime
import json
import random

MICROS = 1_000_000
HOUR = 3600 * MICROS
DAY = 24 * HOUR
# Nothing orders a label before the transactions sent after it: it counts for those that happen so much later.
LABEL_LEAD = 3 * MICROS
# Luhn-valid and of a scheme: such a number may appear nowhere in what fraudd writes.
CARD_NUMBER = "4111111111111111"
COUNTRIES = ["FR", "DE", "ES", "IT", "NL"]

# What a record is meant to be, and how often of a thousand.
MIX = {
    "valid": 780,
    "out_of_order": 80,
    "equal_time": 30,
    "late": 10,
    "future": 8,
    "duplicate": 35,
    "reformatted": 10,
    "conflict": 10,
    "unknown_field": 7,
    "poison": 30,
}
CLEAN = {"valid": 1}
# Half of it comes late by minutes to hours: what is decided twice, or too early, sees what it must not see.
TANGLED = {"valid": 400, "out_of_order": 500, "equal_time": 60, "duplicate": 30, "conflict": 10}
ORDERLY = {"valid": 900, "out_of_order": 60, "equal_time": 40}


def murmur2(data):
    """The hash of Apache's clients, for keys; the suite checks it against where Feed.java puts them."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    hashed = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        hashed = hashed * m & mask ^ k
    if whole < len(data):
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * m & mask
    hashed = (hashed ^ hashed >> 13) * m & mask
    return hashed ^ hashed >> 15


def partition_of(key, partitions):
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def micros_now():
    return int(datetime.datetime.now(datetime.timezone.utc).timestamp() * 1e6)


def rfc3339(micros):
    seconds, rest = divmod(micros, MICROS)
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:06d}Z"


def micros_of(text):
    stamp = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    whole = stamp - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (whole.days * 86400 + whole.seconds) * MICROS + whole.microseconds


class Traffic:
    """An endless row of records; the same seed and the same start give the same records."""

    def __init__(self, seed, topics, partitions, prefix="t", customers=60, span=18 * HOUR, count=4000, mix=None, start=None):
        self.random = random.Random(seed)
        self.topics, self.partitions, self.prefix, self.customers = topics, partitions, prefix, customers
        self.mix = mix or MIX
        # Events end an hour ago: labels, which are of now, then belong to no window until they are asked for.
        self.began = start or micros_now()
        self.end = self.began - HOUR
        self.clock, self.step = self.end - span, max(1, span // count)
        self.number, self.poisons, self.bursts = 0, 0, {}
        self.valid = []

    # ---- Transactions

    def body(self, customer, when, number=None):
        pick = self.random
        number = self.number if number is None else number
        own = f"{self.prefix}-c{customer}"
        body = {
            "transaction_id": f"{self.prefix}-{number}",
            "occurred_at": rfc3339(when),
            "amount": pick.choice([pick.randrange(100, 5_000), pick.randrange(1, 300_000)]),
            "currency": "EUR" if pick.random() < 0.95 else "USD",
            "customer_id": own,
            "card": {"token": f"{own}-k{pick.randrange(2)}", "bin": f"4{pick.randrange(10):05d}", "country": "FR"},
            "merchant": {
                "id": f"m{pick.randrange(40)}",
                "mcc": "5732",
                "country": pick.choice(COUNTRIES),
                "terminal_id": f"{self.prefix}-s{pick.randrange(30)}",
            },
            "channel": pick.choice(["pos", "ecommerce"]),
        }
        if pick.random() < 0.7:
            body["device"] = {"id": f"{own}-d{pick.randrange(3)}"}
        if pick.random() < 0.6:
            body["email_hash"] = f"{own}-e"
        if pick.random() < 0.5:
            body["authorisation"] = {"result": pick.choice(["approved", "approved", "declined"])}
        if pick.random() < 0.4:
            body["location"] = {"lat": pick.randrange(-800, 800) / 10, "lon": pick.randrange(-1700, 1700) / 10}
        return body

    def record(self, body, kind, text=None, **more):
        text = text if text is not None else json.dumps(body)
        key = body["customer_id"]
        return {"topic": self.topics["transactions"], "key": key, "value": text, "headers": {"suite": kind}} | more

    def take(self, count):
        return [self.next() for _ in range(count)]

    def next(self):
        self.number += 1
        self.clock = min(self.clock + self.random.randrange(2 * self.step), self.end)
        kind = self.random.choices(list(self.mix), self.mix.values())[0]
        if kind in ("duplicate", "reformatted", "conflict", "equal_time") and not self.valid:
            kind = "valid"
        return getattr(self, f"_{kind}")()

    def _remember(self, body):
        self.valid.append(body)
        # The newest few hundred and a few of the old: repeats are mostly of late, as they are in life.
        if len(self.valid) > 800:
            del self.valid[50:250]
        return body

    def _someone(self):
        """A customer, often one of a burst: several payments within minutes."""
        if self.bursts and self.random.random() < 0.5:
            customer, left = self.random.choice(list(self.bursts.items()))
            self.bursts = {**self.bursts, customer: left - 1} if left > 1 else {who: n for who, n in self.bursts.items() if who != customer}
            return customer
        customer = self.random.randrange(self.customers)
        if self.random.random() < 0.1:
            self.bursts[customer] = self.random.randrange(2, 9)
        return customer

    def _valid(self, kind="valid", when=None):
        body = self.body(self._someone(), self.clock if when is None else when)
        return self.record(self._remember(body), kind)

    def _out_of_order(self):
        back = self.random.choice([60 * MICROS, HOUR, 3 * HOUR])
        return self._valid("out_of_order", self.clock - self.random.randrange(back))

    def _equal_time(self):
        before = self.random.choice(self.valid[-20:])
        body = self.body(0, micros_of(before["occurred_at"]))
        body |= {"customer_id": before["customer_id"], "card": before["card"], "email_hash": before["customer_id"] + "-e"}
        body.pop("device", None)
        return self.record(self._remember(body), "equal_time")

    def _late(self):
        # Well beyond: a day behind the newest event of everybody is a day behind its partition's, too.
        body = self.body(self._someone(), self.clock - DAY - HOUR - self.random.randrange(DAY))
        return self.record(body, "late")

    def _future(self):
        body = self.body(self._someone(), micros_now() + 10 * 60 * MICROS)
        return self.record(body, "future")

    def _duplicate(self):
        body = self.random.choice(self.valid)
        return self.record(body, "duplicate")

    def _reformatted(self):
        """The same transaction, written otherwise."""
        body = self.random.choice(self.valid)
        text = json.dumps(dict(reversed(body.items())), indent=1)
        return self.record(body, "reformatted", text)

    def _conflict(self):
        body = self.random.choice(self.valid)
        # It moves time on like any other that can be read: who may write here could as well send a new id.
        when = rfc3339(self.clock + HOUR // 3) if self.random.random() < 0.3 else body["occurred_at"]
        return self.record(body | {"amount": body["amount"] + 1, "occurred_at": when}, "conflict")

    def _unknown_field(self):
        body = self.body(self._someone(), self.clock)
        return self.record(self._remember(body) | {"loyalty_tier": "gold"}, "unknown_field")

    # ---- Poison

    def _poison(self):
        self.poisons += 1
        return self.poison(POISONS[self.poisons % len(POISONS)])

    def poison(self, name):
        body = self.body(self._someone(), self.clock)
        record = self.record(body, f"poison:{name}")
        return POISON[name](self, body, record)

    # ---- Labels

    def label(self, body, kind="fraud", when=None, key=True):
        label = {
            "transaction_id": body["transaction_id"],
            "label": kind,
            "occurred_at": rfc3339(when or micros_now() + LABEL_LEAD),
            "source": "suite",
        }
        record = {"topic": self.topics["labels"], "value": json.dumps(label), "headers": {"suite": "valid"}}
        return record | ({"key": body["customer_id"]} if key else {"partition": self.random.randrange(self.partitions)})

    def bad_label(self):
        return {"topic": self.topics["labels"], "key": f"{self.prefix}-c0", "value": '{"label": "perhaps"}', "headers": {"suite": "poison:label"}}


def _with(change):
    def made(_, body, record):
        change(body)
        return record | {"value": json.dumps(body)}

    return made


def _bytes(data):
    return lambda _, body, record: {**{name: record[name] for name in record if name != "value"}, "value_b64": base64.b64encode(data).decode()}


def _text(make):
    return lambda _, body, record: record | {"value": make(body)}


def _wrong_partition(traffic, body, record):
    right = partition_of(body["customer_id"], traffic.partitions)
    if traffic.partitions == 1:
        return record | {"value": "{}"}
    return record | {"partition": (right + 1) % traffic.partitions}


def _tombstone(_, body, record):
    return {name: value for name, value in record.items() if name != "value"}


def _no_owner(body):
    body.pop("customer_id")
    body["card"].pop("token")


POISON = {
    "json": _text(lambda body: json.dumps(body)[:-9]),
    "empty": _text(lambda body: ""),
    "bytes": _bytes(b"\x00\x00\x00\x00\x07\xff\xfe\xfd"),
    "list": _text(lambda body: json.dumps([body])),
    "other_schema": _text(lambda body: '{"hello": "world", "id": 7}'),
    "deep": _text(lambda body: '{"a":' * 3000 + "1" + "}" * 3000),
    "not_a_number": _text(lambda body: json.dumps(body | {"amount": float("nan")})),
    "amount_as_text": _with(lambda body: body.update(amount="12.50")),
    "amount_negative": _with(lambda body: body.update(amount=-1)),
    "no_time": _with(lambda body: body.pop("occurred_at")),
    "bad_time": _with(lambda body: body.update(occurred_at="yesterday")),
    "bad_currency": _with(lambda body: body.update(currency="EURO")),
    "no_owner": _with(_no_owner),
    "card_number": _with(lambda body: body.update(attributes={"note": f"please charge {CARD_NUMBER} today"})),
    "card_number_in_card": _with(lambda body: body["card"].update(token=CARD_NUMBER)),
    "long_id": _with(lambda body: body.update(transaction_id="x" * 5_000)),
    "tombstone": _tombstone,
    "wrong_partition": _wrong_partition,
}
POISONS = list(POISON)
