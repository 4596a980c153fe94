"""The verifier itself: does it see what it is there for? Against a stream made up in memory, with one thing wrong at a time.

python3 -m unittest discover -s tests/kafka
"""

import collections
import copy
import json
import pathlib
import random
import struct
import unittest

from suite import oracle, verifier
from suite.kafka import Record
from suite.traffic import HOUR, MICROS, POISONS, Traffic, micros_of, murmur2, partition_of, rfc3339

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "models/schemas/card-fraud.toml"
TOPICS = {"transactions": "transactions", "labels": "labels"}
PARTITIONS = 2
START = 1_790_000_000 * MICROS
LEAST = -(1 << 63)


def logged(records):
    """Records as a broker keeps them."""
    ends, found = collections.Counter(), []
    for one in records:
        partition = one.get("partition", partition_of(one["key"], PARTITIONS))
        value = one["value"].encode() if "value" in one else (b"\xff" if "value_b64" in one else None)
        headers = list(one["headers"].items())
        # Everything was appended at the start's time; the future is built against the real clock, far ahead of it.
        found.append(Record(one["topic"], partition, ends[one["topic"], partition], START // 1000, one["key"].encode(), value, headers, None, None))
        ends[one["topic"], partition] += 1
    return found


def publish(inputs, labels):
    """A right stream: transactions of some records each, their outputs parted by markers, a changelog record each."""
    pick = random.Random(7)
    outputs = {name: [] for name in ("scores", "alerts", "features", "late", "dead", "state")}
    committed, samples, rest = {}, [], {}
    for partition, log in verifier.expect(inputs, PARTITIONS).items():
        ends, at, before = collections.Counter(), 0, (0, 0, LEAST, 0)
        features = oracle.Oracle(SCHEMA)

        def put(topic, key, value, headers=()):
            record = Record(topic, partition, ends[topic], 0, key, value, list(headers), None, None)
            outputs[topic].append(record)
            ends[topic] += 1

        while at < len(log):
            batch, marks = log[at : at + pick.randrange(1, 9)], collections.Counter(ends)
            for one in batch:
                decide(one, put, features, rest)
            at += len(batch)
            watermark = batch[-1].watermark
            after = (at, 0, LEAST if watermark is None else watermark, at * 7919)
            put("state", before[0].to_bytes(8, "big"), blob(before, after, batch))
            for topic in outputs:
                ends[topic] += ends[topic] > marks[topic]
            before = after
            committed[f"transactions/{partition}"] = [after[0], f"v1;l=0;w={after[2]};h={after[3]:016x};t=a"]
            samples.append(dict(committed))
    return verifier.Evidence(PARTITIONS, inputs, labels, outputs, committed, samples, rest=rest, topics=TOPICS)


def decide(one, put, features, rest):
    if one.fate == "dead":
        stage = one.stages[0]
        where = {"topic": "transactions", "partition": str(one.record.partition), "offset": str(one.record.offset), "stage": stage}
        put("dead", one.record.key, b"..", [(f"fraudd-dead-{name}", value) for name, value in where.items()])
    if one.fate not in ("new", "late"):
        return
    outcome = "decline" if one.body["amount"] > 200_000 else "approve"
    decision = {"transaction_id": one.id, "outcome": outcome, "score": 0.25, "degraded_reasons": []}
    text = json.dumps(decision).encode()
    put("scores", one.record.key, text)
    if outcome != "approve":
        put("alerts", one.record.key, text)
    vector = features.take(one.body, late=one.fate == "late")
    values = {name: value for name, (value, _) in vector.items()}
    missing = [name for name, (_, is_missing) in vector.items() if is_missing]
    put("features", one.record.key, json.dumps({"transaction_id": one.id, "features": values, "missing": missing}).encode())
    if one.fate == "late":
        put("late", one.record.key, one.record.value)
    elif len(rest) < 20:
        rest[one.id] = decision


def blob(before, after, batch):
    kinds = [{"new": verifier.ENTRY_EVENT, "late": verifier.ENTRY_ID}.get(one.fate) for one in batch]
    entries = [struct.pack("<BI", kind, 3) + b"abc" for kind in kinds if kind]
    head = b"\x01" + verifier.POSITION.pack(*before) + verifier.POSITION.pack(*after)
    return head + struct.pack("<qI", 0, len(entries)) + b"".join(entries) + b"checksum"


class Verifier(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        traffic = Traffic(11, TOPICS, PARTITIONS, customers=12, count=400, start=START)
        records = [one for one in traffic.take(400) if "_size" not in str(one)]
        records += [traffic.poison(name) for name in POISONS]
        cls.right = publish(logged(records), logged([traffic.bad_label()] * 0))

    def findings(self, change=None):
        evidence = copy.deepcopy(self.right)
        if change:
            change(evidence)
        return verifier.verify(evidence, SCHEMA)

    def check(self, kinds, change):
        findings, _ = self.findings(change)
        self.assertEqual(set(findings.counts), set(kinds), findings.lines())

    def test_a_right_stream_has_no_findings(self):
        findings, told = self.findings()
        self.assertEqual(findings.lines(), [])
        for fate in ("new", "late", "duplicate", "dead"):
            self.assertGreater(told[fate], 3, told)
        self.assertEqual(told["features"], told["new"] + told["late"])

    def test_a_score_that_is_there_twice(self):
        def double(evidence):
            scores = evidence.outputs["scores"]
            scores.append(scores[7]._replace(offset=99_999))

        self.check({"doubled"}, double)

    def test_a_score_that_is_lost(self):
        def lose(evidence):
            gone = evidence.outputs["scores"].pop(40)
            same = lambda one: json.loads(one.value)["transaction_id"] != json.loads(gone.value)["transaction_id"]
            for topic in ("alerts", "features", "late"):
                evidence.outputs[topic] = list(filter(same, evidence.outputs[topic]))
            evidence.rest.clear()

        findings, _ = self.findings(lose)
        self.assertIn("lost", findings.counts)

    def test_a_score_nobody_asked_for(self):
        def invent(evidence):
            for topic in ("scores", "features"):
                record = evidence.outputs[topic][-1]
                value = json.loads(record.value) | {"transaction_id": "invented", "outcome": "approve"}
                evidence.outputs[topic].append(record._replace(offset=record.offset + 9, value=json.dumps(value).encode()))

        self.check({"extra"}, invent)

    def test_an_alert_that_is_missing_beside_its_score(self):
        self.check({"lost"}, lambda evidence: evidence.outputs["alerts"].pop())

    def test_a_transaction_whose_scores_came_without_its_changelog(self):
        def tear(evidence):
            for last in [one for one in evidence.outputs["state"] if one.partition == 0][-7:]:
                evidence.outputs["state"].remove(last)

        findings, _ = self.findings(tear)
        self.assertIn("torn", findings.counts)

    def test_a_changelog_record_left_out_in_the_middle(self):
        findings, _ = self.findings(lambda evidence: evidence.outputs["state"].pop(3))
        self.assertIn("torn", findings.counts)

    def test_outputs_of_two_transactions_in_one(self):
        def close_gap(evidence):
            inside = [one for one in evidence.outputs["scores"] if one.partition == 0]
            gap = next(at for at in range(5, len(inside)) if inside[at].offset != inside[at - 1].offset + 1)
            evidence.outputs["scores"] = [one if one is not inside[gap] else one._replace(offset=inside[gap - 1].offset + 1) for one in evidence.outputs["scores"]]

        self.check({"torn"}, close_gap)

    def test_two_of_one_partition_in_the_wrong_order(self):
        def swap(evidence):
            scores = evidence.outputs["scores"]
            at = next(at for at in range(30, len(scores)) if scores[at].partition == scores[at + 1].partition)
            scores[at], scores[at + 1] = scores[at + 1], scores[at]

        findings, _ = self.findings(swap)
        self.assertIn("out_of_order", findings.counts)

    def test_a_record_in_another_partition_than_its_input(self):
        def move(evidence):
            at = evidence.outputs["scores"][5]
            evidence.outputs["scores"][5] = at._replace(partition=1 - at.partition)

        findings, _ = self.findings(move)
        self.assertLessEqual({"lost", "extra"}, set(findings.counts))

    def test_a_feature_that_is_one_off(self):
        def change(evidence):
            record = evidence.outputs["features"][33]
            value = json.loads(record.value)
            value["features"]["customer_nb_tx_1d"] += 1
            evidence.outputs["features"][33] = record._replace(value=json.dumps(value).encode())

        self.check({"feature"}, change)

    def test_a_missing_that_is_shown_as_known(self):
        def change(evidence):
            for at, record in enumerate(evidence.outputs["features"]):
                value = json.loads(record.value)
                if "customer_seconds_since_last" in value["missing"]:
                    value["missing"].remove("customer_seconds_since_last")
                    evidence.outputs["features"][at] = record._replace(value=json.dumps(value).encode())
                    return

        self.check({"feature"}, change)

    def test_dead_letters_lost_doubled_and_uncalled_for(self):
        self.check({"lost"}, lambda evidence: evidence.outputs["dead"].pop(2))
        self.check({"doubled"}, lambda evidence: evidence.outputs["dead"].append(evidence.outputs["dead"][2]))

        def uncalled(evidence):
            letter = evidence.outputs["dead"][0]
            headers = [(name, "0" if name.endswith("offset") else value) for name, value in letter.headers]
            evidence.outputs["dead"].append(letter._replace(headers=headers))

        self.check({"dead"}, uncalled)

    def test_a_card_number_in_a_dead_letter(self):
        def leak(evidence):
            letter = evidence.outputs["dead"][0]
            evidence.outputs["dead"][0] = letter._replace(value=b"4111111111111111")

        self.check({"leaked"}, leak)

    def test_offsets_and_watermarks_that_go_back(self):
        self.check({"moved_back"}, lambda evidence: evidence.samples.insert(9, evidence.samples[2]))

        def watermark(evidence):
            name, (offset, text) = next(iter(evidence.samples[-1].items()))
            before, _, after = text.partition("w=")
            evidence.samples.append({**evidence.samples[-1], name: [offset, f"{before}w={START // 2};{after.partition(';')[2]}"]})

        self.check({"moved_back"}, watermark)

    def test_a_committed_offset_that_is_not_the_changelogs(self):
        def ahead(evidence):
            name, (offset, text) = next(iter(evidence.committed.items()))
            evidence.committed[name] = [offset + 1, text]

        self.check({"position"}, ahead)

    def test_what_hangs(self):
        self.check({"hanging"}, lambda evidence: evidence.ends.update({"scores/0": {"begin": 0, "stable": 7, "end": 9}}))
        self.check({"hanging"}, lambda evidence: evidence.open.update(producers=[{"partition": "scores/0", "since": 7}]))

    def test_an_answer_of_rest_that_is_not_what_was_published(self):
        def differ(evidence):
            name = next(iter(evidence.rest))
            evidence.rest[name] = evidence.rest[name] | {"score": 0.25000000000000006}

        self.check({"rest"}, differ)
        self.check({"lost"}, lambda evidence: evidence.rest.update({"never-published": {}}))
        # It said itself that it was not recorded.
        self.check({}, lambda evidence: evidence.rest.update({"never-published": {"degraded_reasons": ["not_recorded"]}}))


class Oracle(unittest.TestCase):
    """The oracle against sums done by hand."""

    def take(self, rows, name, late=()):
        by_hand = oracle.Oracle(SCHEMA)
        told = []
        for number, (seconds, more) in enumerate(rows):
            body = {"transaction_id": f"t{number}", "occurred_at": rfc3339(START + seconds * MICROS), "amount": 1_000, "currency": "EUR", "customer_id": "c"} | more
            told.append(by_hand.take(body, late=number in late)[name])
        return told

    def check(self, rows, name, expected, **more):
        self.assertEqual([value for value, _ in self.take(rows, name, **more)], expected)

    def test_windows_slide_and_are_closed_on_the_right(self):
        rows = [(0, {}), (299, {}), (300, {}), (301, {}), (0, {})]
        self.check(rows, "customer_count_5m", [1, 2, 2, 3, 2])
        self.check(rows, "customer_amount_5m", [10, 20, 20, 30, 20])

    def test_a_late_one_is_seen_by_itself_alone(self):
        self.check([(0, {}), (10, {}), (20, {})], "customer_count_5m", [1, 2, 2], late={1})

    def test_another_currency_counts_and_adds_nothing(self):
        rows = [(0, {"amount": 500}), (1, {"currency": "USD"})]
        self.check(rows, "customer_count_5m", [1, 2])
        self.check(rows, "customer_amount_5m", [5, 5])
        self.assertEqual(self.take(rows, "tx_amount"), [(5.0, False), (0.0, True)])

    def test_times_deviations_and_what_is_missing(self):
        rows = [(0, {"amount": 100}), (10, {"amount": 300}), (70, {})]
        self.check(rows, "customer_seconds_since_last", [2592000.0, 10, 60])
        self.check(rows, "customer_own_std_30d", [0, 0, 1])
        self.assertEqual(self.take(rows[:1], "card_count_5m"), [(0.0, True)])

    def test_the_newest_label_by_then(self):
        by_hand = oracle.Oracle(SCHEMA)
        for when, kind in ((START + HOUR, "fraud"), (START + 3 * HOUR, "legitimate")):
            by_hand.label({"transaction_id": "t0", "label": kind, "occurred_at": rfc3339(when)})
        told = []
        for number, hours in enumerate((0, 0.5, 1, 2, 3)):
            body = {"transaction_id": f"t{number}", "occurred_at": rfc3339(START + int(hours * HOUR)), "amount": 1, "currency": "EUR", "customer_id": "c"}
            told.append(by_hand.take(body)["customer_fraud_count_30d"][0])
        self.assertEqual(told, [0, 0, 1, 1, 0])


class TrafficItself(unittest.TestCase):
    def test_murmur2_is_apaches(self):
        known = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
        for key, expected in known.items():
            self.assertEqual(murmur2(key.encode()), expected & 0xFFFFFFFF, key)

    def test_the_same_seed_gives_the_same_records(self):
        make = lambda seed: [one for one in Traffic(seed, TOPICS, 3, start=START).take(500) if one["headers"]["suite"] != "future"]
        self.assertEqual(make(5), make(5))
        self.assertNotEqual(make(5), make(6))

    def test_times_go_there_and_back(self):
        for micros in (0, 1, START + 123_456, START - 1):
            self.assertEqual(micros_of(rfc3339(micros)), micros)


if __name__ == "__main__":
    unittest.main()
