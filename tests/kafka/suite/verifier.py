"""Judges a run from what Apache's consumer reads: nothing is believed because fraudd says so.

    input log (every partition, in order)  ->  what must become of each record  ->  compared with every output topic
    changelog (one record a transaction)   ->  where each transaction began and ended  ->  nothing torn, nothing moved back

A finding is a kind and an example. Kinds: lost, doubled, extra, misplaced, out_of_order, torn, position, moved_back, dead,
hanging, feature, leaked, rest. None of them may be there.
"""

import bisect
import collections
import dataclasses
import json
import struct

from suite import oracle as naive
from suite.traffic import CARD_NUMBER, DAY, MICROS, micros_of, partition_of

KINDS = ["lost", "doubled", "extra", "misplaced", "out_of_order", "torn", "position", "moved_back", "dead", "hanging", "feature", "leaked", "rest"]
EXAMPLES_MAX = 4
WATERMARK_BOUND = 30 * MICROS
LATENESS = DAY
AHEAD = 5 * 60 * MICROS
SECOND_DOOR = "fraudd-"
POSITION = struct.Struct("<qqqQ")
BLOB_HEAD = struct.Struct("<B")
ENTRY_EVENT, ENTRY_ID, ENTRY_LABEL = 1, 2, 3


class Findings:
    """What is wrong, counted by kind, with the first examples of each."""

    def __init__(self):
        self.counts = collections.Counter()
        self.examples = collections.defaultdict(list)

    def add(self, kind, example):
        assert kind in KINDS, kind
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES_MAX:
            self.examples[kind].append(example)

    def __bool__(self):
        return bool(self.counts)

    def lines(self):
        return [f"{kind} {self.counts[kind]}: {example}" for kind in KINDS for example in self.examples[kind]]


@dataclasses.dataclass
class Evidence:
    """All that was read of a run. Committed and samples are `topic/partition` -> [offset, metadata], samples in order."""

    partitions: int
    transactions: list
    labels: list
    outputs: dict
    committed: dict = dataclasses.field(default_factory=dict)
    samples: list = dataclasses.field(default_factory=list)
    ends: dict = dataclasses.field(default_factory=dict)
    open: dict = dataclasses.field(default_factory=dict)
    rest: dict = dataclasses.field(default_factory=dict)
    topics: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Expected:
    """What must become of one record: `new`, `late`, `duplicate`, `dead` (with the stages it may name) or `label`."""

    record: object
    fate: str
    body: dict = None
    stages: tuple = ()
    watermark: int = None

    @property
    def id(self):
        return self.body["transaction_id"] if self.body else None


# ---- What must be ---------------------------------------------------------------------------------------------------


def expect(records, partitions):
    """Walks the input log, partition by partition, and says what must become of each record."""
    by_partition = {partition: [] for partition in range(partitions)}
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        by_partition[record.partition].append(record)
    return {partition: list(_expect_partition(log, partition, partitions)) for partition, log in by_partition.items()}


def _expect_partition(log, partition, partitions):
    seen, watermark = {}, None
    for record in log:
        made = _expect_record(record, partition, partitions, seen, watermark)
        # Any transaction that can be read and is not late moves time on, one that conflicts too: a rule that looked at
        # ids would hang on what else is known.
        if made.fate == "new" or (made.body and not _is_late(made.body, watermark)):
            watermark = max(watermark or -(1 << 63), micros_of(made.body["occurred_at"]) - WATERMARK_BOUND)
        if made.fate in ("new", "late"):
            seen[made.id] = None if _is_second_door(record) else _meaning(made.body)
        made.watermark = watermark
        yield made


def _expect_record(record, partition, partitions, seen, watermark):
    headers = dict(record.headers)
    meant = headers.get("suite", "valid")
    if meant.startswith("poison") or record.value is None:
        return Expected(record, "dead", stages=STAGES.get(meant.partition(":")[2], ANY_STAGE))
    body = json.loads(record.value)
    when = micros_of(body["occurred_at"])
    if partition_of(body["customer_id"], partitions) != partition:
        return Expected(record, "dead", stages=("key",))
    is_second_door = _is_second_door(record)
    if when > record.timestamp * 1000 + AHEAD:
        return Expected(record, "dead", stages=("time", "schema"))
    if body["transaction_id"] in seen:
        # What the outbox writes is the same transaction in fraudd's own writing.
        same = is_second_door or seen[body["transaction_id"]] in (_meaning(body), None)
        return Expected(record, "duplicate" if same else "dead", body, stages=("conflict",))
    # Lateness is judged once, at the deciding door.
    if not is_second_door and _is_late(body, watermark):
        return Expected(record, "late", body)
    return Expected(record, "new", body)


def _is_late(body, watermark):
    return watermark is not None and micros_of(body["occurred_at"]) < watermark - LATENESS


def _is_second_door(record):
    """Whether fraudd's own outbox wrote a record of the input: it was decided over REST."""
    return any(name.startswith(SECOND_DOOR) for name, _ in record.headers)


def _meaning(body):
    return json.dumps({name: value for name, value in body.items() if name != "loyalty_tier"}, sort_keys=True)


ANY_STAGE = ("decode", "schema", "validate", "key")
STAGES = {
    "json": ("decode",),
    "empty": ("decode",),
    "bytes": ("decode",),
    "deep": ("decode",),
    "not_a_number": ("decode",),
    "wrong_partition": ("key", "schema", "validate"),
    "no_owner": ("key", "schema", "validate"),
}


# ---- Comparing ------------------------------------------------------------------------------------------------------


def verify(evidence, schema=None, kinds=naive.OWN):
    """Everything at once; `schema` names the file whose features are recomputed."""
    findings = Findings()
    expected = expect(evidence.transactions, evidence.partitions)
    ids = _check_scores(findings, evidence, expected)
    _check_siblings(findings, evidence, expected)
    _check_dead(findings, evidence, expected)
    _check_changelog(findings, evidence, expected)
    _check_samples(findings, evidence)
    _check_end(findings, evidence)
    _check_rest(findings, evidence, ids)
    _check_leaks(findings, evidence)
    checked = _check_features(findings, evidence, expected, schema, kinds) if schema else 0
    fates = collections.Counter(one.fate for log in expected.values() for one in log)
    return findings, {"records": len(evidence.transactions), "features": checked, **fates}


def _check_scores(findings, evidence, expected):
    """KA-1, KA-4: each decided id once, in its input's partition, in the order of the input."""
    found = {}
    for partition, log in expected.items():
        wanted = [one.id for one in log if one.fate in ("new", "late")]
        got = [_json(one).get("transaction_id") for one in evidence.outputs["scores"] if one.partition == partition]
        _compare(findings, "scores", partition, wanted, got)
    for record in evidence.outputs["scores"]:
        found.setdefault(_json(record).get("transaction_id"), record)
    return found


def _compare(findings, topic, partition, wanted, got):
    """Compares two lists of ids of one partition: as sets, as multisets, as sequences."""
    counted, allowed = collections.Counter(got), dict.fromkeys(wanted)
    for name, times in counted.items():
        if name not in allowed:
            findings.add("extra", f"{topic}/{partition}: {name} has no input that asks for it")
        elif times > 1:
            findings.add("doubled", f"{topic}/{partition}: {name} is there {times} times")
    for name in allowed:
        if name not in counted:
            findings.add("lost", f"{topic}/{partition}: {name} is not there")
    both = [name for name in dict.fromkeys(got) if name in allowed]
    there = [name for name in dict.fromkeys(wanted) if name in counted]
    if both != there:
        place = next(at for at, pair in enumerate(zip(both, there)) if pair[0] != pair[1])
        findings.add("out_of_order", f"{topic}/{partition}: number {place} is {both[place]}, the input has {there[place]}")


def _check_siblings(findings, evidence, expected):
    """KA-3 in the end: alerts, features and late records are those of the scores, in the same partition and order."""
    scores = collections.defaultdict(list)
    for record in evidence.outputs["scores"]:
        scores[record.partition].append(_json(record))
    ids = lambda topic, partition: [_json(one).get("transaction_id") for one in evidence.outputs[topic] if one.partition == partition]
    for partition, log in expected.items():
        alarming = [one["transaction_id"] for one in scores[partition] if one.get("outcome") != "approve"]
        for topic, wanted in (("alerts", alarming), ("features", [one.get("transaction_id") for one in scores[partition]])):
            if topic in evidence.outputs:
                _compare(findings, topic, partition, wanted, ids(topic, partition))
        _compare(findings, "late", partition, [one.id for one in log if one.fate == "late"], ids("late", partition))


def _check_dead(findings, evidence, expected):
    """Each record that must be put aside is, once, in its partition, with a stage that fits; nothing else is."""
    wanted = {(one.record.topic, one.record.partition, one.record.offset): one for log in expected.values() for one in log if one.fate == "dead"}
    for label in evidence.labels:
        if dict(label.headers).get("suite", "").startswith("poison"):
            wanted[(label.topic, label.partition, label.offset)] = Expected(label, "dead", stages=ANY_STAGE)
    times = collections.Counter()
    for letter in evidence.outputs["dead"]:
        headers = dict(letter.headers)
        origin = (headers.get("fraudd-dead-topic"), letter.partition, int(headers.get("fraudd-dead-offset", -1)))
        if origin[2] >= 0 and headers.get("fraudd-dead-partition") != str(letter.partition):
            findings.add("misplaced", f"dead/{letter.partition}@{letter.offset} is of partition {headers.get('fraudd-dead-partition')}")
        times[origin] += 1
        if origin not in wanted:
            findings.add("dead", f"{origin} was put aside and should not be: {headers.get('fraudd-dead-reason')}: {headers.get('fraudd-dead-error')}")
        elif headers.get("fraudd-dead-stage") not in wanted[origin].stages:
            told, meant = headers.get("fraudd-dead-stage"), dict(wanted[origin].record.headers).get("suite")
            findings.add("dead", f"{origin} ({meant}) names the stage {told}, not one of {wanted[origin].stages}")
    for origin, one in wanted.items():
        if times[origin] == 0:
            findings.add("lost", f"dead: {origin} ({dict(one.record.headers).get('suite')}) was not put aside")
        elif times[origin] > 1:
            findings.add("doubled", f"dead: {origin} was put aside {times[origin]} times")


def _check_leaks(findings, evidence):
    for topic, records in evidence.outputs.items():
        for record in records:
            said = b"".join([record.value or b"", record.key or b"", repr(record.headers).encode()])
            if CARD_NUMBER.encode() in said:
                findings.add("leaked", f"{topic}/{record.partition}@{record.offset} shows a card number")


# ---- The changelog: where each transaction began and ended ----------------------------------------------------------


@dataclasses.dataclass
class Interval:
    """What one transaction with the broker did to one partition: [transactions, labels, watermark, chain] before and after."""

    before: tuple
    after: tuple
    entries: collections.Counter
    record: object


def intervals(records):
    """Reads changelog records; what cannot be read comes as None."""
    return [_interval(record) for record in records]


def _interval(record):
    blob = record.value
    try:
        if blob[0] != 1 or len(record.key) != 8:
            return None
        before, after = POSITION.unpack_from(blob, 1), POSITION.unpack_from(blob, 1 + POSITION.size)
        (count,) = struct.unpack_from("<I", blob, 9 + 2 * POSITION.size)
        at, entries = 13 + 2 * POSITION.size, collections.Counter()
        for _ in range(count):
            kind, length = struct.unpack_from("<BI", blob, at)
            entries[kind] += 1
            at += 5 + length
        return Interval(before, after, entries, record)
    except (struct.error, TypeError, IndexError):
        return None


def _check_changelog(findings, evidence, expected):
    """KA-2, KA-3: transactions join without gap or overlap, and none of their outputs lies across a border."""
    for partition, log in expected.items():
        found = intervals([one for one in evidence.outputs["state"] if one.partition == partition])
        if None in found:
            findings.add("position", f"state/{partition}: {found.count(None)} records cannot be read")
            continue
        for one in found:
            if int.from_bytes(one.record.key, "big") != one.before[0]:
                findings.add("position", f"state/{partition}@{one.record.offset}: key and position before disagree")
            if one.after[:3] < one.before[:3] or one.after[1] < one.before[1] or one.after[2] < one.before[2]:
                findings.add("moved_back", f"state/{partition}@{one.record.offset}: {one.before} to {one.after}")
        for one, later in zip(found, found[1:]):
            if one.after != later.before:
                findings.add("torn", f"state/{partition}@{later.record.offset}: begins at {later.before}, the one before ended at {one.after}")
        _check_positions(findings, evidence, partition, log, found)
        _check_runs(findings, evidence, partition, log, found)


def _check_positions(findings, evidence, partition, log, found):
    """The watermark is that of the prefix, entries are those of the interval, and the committed offset is the last end."""
    offsets = [record.record.offset for record in log]
    for one in found:
        begin, end = bisect.bisect_left(offsets, one.before[0]), bisect.bisect_left(offsets, one.after[0])
        inside, last = log[begin:end], log[end - 1].watermark if end else None
        wanted = -(1 << 63) if last is None else last
        if one.after[2] != wanted:
            findings.add("position", f"state/{partition}@{one.record.offset}: watermark {one.after[2]}, the prefix has {wanted}")
        fates = collections.Counter(record.fate for record in inside)
        if (one.entries[ENTRY_EVENT], one.entries[ENTRY_ID]) != (fates["new"], fates["late"]):
            findings.add("torn", f"state/{partition}@{one.record.offset}: entries {dict(one.entries)} for inputs {dict(fates)}")
    name = f"{evidence.topics.get('transactions', 'transactions')}/{partition}"
    committed = evidence.committed.get(name)
    if found and committed:
        position = metadata(committed)
        if position != found[-1].after:
            findings.add("position", f"{name}: committed {committed}, the changelog ends at {found[-1].after}")
    elif found or (log and evidence.committed):
        findings.add("position", f"{name}: committed {committed} with {len(found)} changelog records")


def _check_runs(findings, evidence, partition, log, found):
    """Each unbroken run of an output topic is of one transaction, because markers part them: it must lie in one interval."""
    ends = [one.after[0] for one in found]
    offsets = {one.id: one.record.offset for one in log if one.fate in ("new", "late")}

    def border(offset):
        number = bisect.bisect_right(ends, offset)
        return number if number < len(ends) else None

    for topic in ("scores", "alerts", "features", "late"):
        run, last = None, None
        for record in (one for one in evidence.outputs.get(topic, []) if one.partition == partition):
            at = offsets.get(_json(record).get("transaction_id"))
            number = None if at is None else border(at)
            if at is not None and number is None:
                findings.add("torn", f"{topic}/{partition}@{record.offset}: input {at} is in no changelog record")
            if last is not None and record.offset == last + 1 and number != run:
                findings.add("torn", f"{topic}/{partition}@{record.offset}: in one transaction with outputs of another")
            run, last = number, record.offset


def metadata(committed):
    """Reads a committed offset as a position, or None."""
    offset, text = committed
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    try:
        return (offset, int(parts["l"]), int(parts["w"]), int(parts["h"], 16))
    except (KeyError, ValueError):
        return None


def _check_samples(findings, evidence):
    """KA-2: over all samples no committed offset, watermark or label offset went back."""
    best = {}
    for sample in [*evidence.samples, evidence.committed]:
        for name, committed in sample.items():
            now = [committed[0], *(metadata(committed) or (0, -1, -(1 << 63)))[1:3]]
            if name in best and any(new < old for new, old in zip(now, best[name])):
                findings.add("moved_back", f"{name}: {best[name]} and then {now}")
            best[name] = now
        for name in best.keys() - sample.keys():
            if sample:
                findings.add("moved_back", f"{name}: committed {best[name]} and then nothing")


def _check_end(findings, evidence):
    """I7: nothing hangs: no transaction is open, and a reader of committed records gets to every end."""
    for name, end in evidence.ends.items():
        if end["stable"] != end["end"]:
            findings.add("hanging", f"{name}: readable to {end['stable']} of {end['end']}")
    for one in evidence.open.get("open", []):
        findings.add("hanging", f"transaction {one}")
    for one in evidence.open.get("producers", []):
        findings.add("hanging", f"open in {one}")


SAME_AS_REST = ["decision_id", "outcome", "score", "risk_score", "decision_source", "degraded", "degraded_reasons", "evaluated_at"]


def _check_rest(findings, evidence, scores):
    """What REST answered is what was published; an answer that says it was not recorded promises nothing more."""
    for name, answer in evidence.rest.items():
        is_promised = "not_recorded" not in answer.get("degraded_reasons", [])
        if not is_promised:
            continue
        if name not in scores:
            findings.add("lost", f"scores: {name} was answered by REST and never published")
            continue
        published = _json(scores[name])
        differ = [key for key in SAME_AS_REST if published.get(key) != answer.get(key)]
        if differ:
            findings.add("rest", f"{name}: " + ", ".join(f"{key} {answer.get(key)} answered, {published.get(key)} published" for key in differ))


# ---- Features -------------------------------------------------------------------------------------------------------


def _check_features(findings, evidence, expected, schema, kinds):
    """FE-1 to FE-3: every published vector against the naive recomputation."""
    published = {}
    for record in evidence.outputs["features"]:
        value = _json(record)
        published[value.get("transaction_id")] = value
    capped = {_json(one).get("transaction_id") for one in evidence.outputs["scores"] if "features_capped" in _json(one).get("degraded_reasons", [])}
    checked = 0
    # How far back is kept follows the newest event of all partitions; lateness follows that of its own.
    newest = max((micros_of(one.body["occurred_at"]) for log in expected.values() for one in log if one.fate == "new"), default=0)
    may_be_capped = lambda one: one.fate == "late" or (evidence.partitions > 1 and micros_of(one.body["occurred_at"]) < newest - LATENESS)
    for partition, log in expected.items():
        oracle = naive.Oracle(schema, kinds)
        for label in evidence.labels:
            if not dict(label.headers).get("suite", "").startswith("poison"):
                oracle.label(json.loads(label.value))
        for one in log:
            if one.fate not in ("new", "late"):
                continue
            vector = oracle.take(one.body, late=one.fate == "late")
            told = published.get(one.id)
            # What is that late may ask for more past than is kept, and then says so.
            # One decided over REST saw what was there at its own time, which is not its place in the log.
            if told is None or (one.id in capped and may_be_capped(one)) or _is_second_door(one.record):
                continue
            checked += 1
            if one.id in capped:
                findings.add("feature", f"{one.id} of {one.body['occurred_at']} says features_capped and is not late")
            wrong = naive.differences(vector, told)
            if wrong:
                name, right, found = wrong[0]
                findings.add("feature", f"{one.id} in {partition}: {len(wrong)} differ; {name} must be {right}, is {found}")
    return checked


def _json(record):
    try:
        value = json.loads(record.value)
        return value if isinstance(value, dict) else {}
    except (TypeError, ValueError):
        return {}
