"""Bundles made from a shipped one for a measurement: a model that fails on command, and a pair that cannot be mixed unseen.

Nothing in the service knows of them: what is wrong is in the model's own graph, as it would be in a bad one, and every gate
lets it pass, because golden rows do not have it. The ONNX file is edited as the protocol buffers it is, so no library is needed.
"""

import hashlib
import json
import math
import re
import shutil
import struct
import subprocess
import tomllib

import harness

SHIPPED = harness.ROOT / "models" / "card-fraud"
NAME, VERSION = "card-fraud", "1.0.0"
# The amount in minor units that makes the model fail: exact in 32 bits, and no simulated payment has it.
FAULTY_AMOUNT = 98_765_425
# A feature that the shipped model does not read; one of the pair reads its place and drops it.
EXTRA = "is_weekend"
EXTRA_VALUES = {"edges": [0.0], "shares": [0.7, 0.3], "baseline": 0.0, "min": 0.0, "max": 1.0}
# Scores of the pair are (2 n + 0 or 1) / GRID: exact in 32 bits, within 0..=1, and the last bit tells whose they are.
GRID = 16_384
STEPS = GRID // 2 - 1
FLOAT, INT64 = 1, 7


def faulty(models, version="fails"):
    """The shipped model, but NaN for one amount: probability + 0 / |amount - FAULTY_AMOUNT|."""
    graph = Graph(SHIPPED / VERSION / "model.onnx")
    graph.tensor("first", INT64, [1], [0])
    graph.tensor("amount", FLOAT, [1], [FAULTY_AMOUNT / 100])
    graph.tensor("zero", FLOAT, [1], [0.0])
    graph.node("Gather", ["X", "first"], "chosen", axis=1)
    graph.node("Sub", ["chosen", "amount"], "difference")
    graph.node("Abs", ["difference"], "distance")
    graph.node("Reciprocal", ["distance"], "nearness")
    graph.node("Mul", ["nearness", "zero"], "fault")
    graph.node("Add", ["probabilities", "fault"], "answer")
    return write(models, version, graph.bytes("answer"), {})


def even(models, version="even"):
    """The shipped model with its scores on a grid, every one an even multiple of 1 / GRID."""
    return gridded(models, version, 0, extra=False)


def odd(models, version="odd"):
    """The same with odd multiples, behind another schema: it is given an input more, so a row of the other's fails."""
    return gridded(models, version, 1, extra=True)


def gridded(models, version, rest, extra):
    graph = Graph(SHIPPED / VERSION / "model.onnx")
    inputs = manifest_of(VERSION)["inputs"]
    change = {"score": lambda value: (2 * math.floor(value * STEPS) + rest) / GRID}
    if extra:
        place = inputs.index("is_ecommerce")
        change["extra"] = place
        kept = [at if at < place else at + 1 for at in range(len(inputs))]
        graph.tensor("kept", INT64, [len(kept)], kept)
        graph.node("Gather", ["wide", "kept"], "X", axis=1, front=True)
        graph.input("wide", len(inputs) + 1)
    for name, value in [("steps", STEPS), ("two", 2), ("rest", rest), ("cell", 1 / GRID)]:
        graph.tensor(name, FLOAT, [1], [value])
    graph.node("Mul", ["probabilities", "steps"], "place")
    graph.node("Floor", ["place"], "whole")
    graph.node("Mul", ["whole", "two"], "doubled")
    graph.node("Add", ["doubled", "rest"], "numbered")
    graph.node("Mul", ["numbered", "cell"], "answer")
    return write(models, version, graph.bytes("answer"), change)


def tag(score):
    """Which of the pair gave a score: 0 the even one, 1 the odd one, None neither."""
    place = float(score) * GRID
    return int(place) % 2 if place.is_integer() else None


def pair(models):
    """What a decision must say of its release, for each of the pair: model and schema hash, review limit, last bit of a score."""
    found = {}
    for bit, version in enumerate(("even", "odd")):
        manifest = tomllib.loads((models / NAME / version / "manifest.toml").read_text())
        found[version] = (manifest["files"]["model.onnx"], manifest["schema_hash"], manifest["thresholds"]["review"], bit)
    return found


def manifest_of(version):
    text = (SHIPPED / version / "manifest.toml").read_text()
    return {"text": text, "inputs": json.loads(re.search(r"^inputs = (\[.*\])$", text, re.M)[1])}


def write(models, version, model, change):
    """Writes the bundle beside others and asks the gates; returns NAME/VERSION."""
    folder = models / NAME / version
    folder.mkdir(parents=True)
    source = SHIPPED / VERSION
    score, place = change.get("score", lambda value: value), change.get("extra")
    (folder / "model.onnx").write_bytes(model)
    shutil.copy(source / "MODEL_CARD.md", folder)
    rows = [json.loads(line) for line in (source / "golden.jsonl").read_text().splitlines()]
    for row in rows:
        row["probability"] = score(row["probability"])
        if place is not None:
            row["row"].insert(place, 0.0)
    (folder / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    baseline = json.loads((source / "baseline.json").read_text())
    features = (source / "features.toml").read_text()
    text = manifest_of(VERSION)["text"]
    if place is not None:
        features = re.sub(rf'(name = "{EXTRA}"\n[^\[]*?)input = false\n', r"\1", features)
        other = baseline["features"][place]
        baseline["features"].insert(place, other | EXTRA_VALUES | {"name": EXTRA})
        text = text.replace('"is_ecommerce"]', f'"{EXTRA}", "is_ecommerce"]')
        text = text.replace("[missing]\n", f"[missing]\n{EXTRA} = 0.0\n")
    (folder / "baseline.json").write_text(json.dumps(baseline))
    (folder / "features.toml").write_text(features)
    text = text.replace(f'version = "{VERSION}"', f'version = "{version}"').replace('name = "probabilities"', 'name = "answer"')
    for limit in re.findall(r"^(?:review|decline) = .*$", text, re.M):
        word, value = limit.split(" = ")
        text = text.replace(limit, f"{word} = {score(float(value))!r}")
    for file in ("model.onnx", "golden.jsonl", "baseline.json", "features.toml"):
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        text = re.sub(rf'^"{re.escape(file)}" = .*$', f'"{file}" = "{digest}"', text, flags=re.M)
    (folder / "manifest.toml").write_text(text)
    done = gates(folder)
    if other := re.search(r"packed for schema ([0-9a-f]{64}) and this is ([0-9a-f]{64})", done.stdout + done.stderr):
        (folder / "manifest.toml").write_text(text.replace(other[1], other[2]))
        done = gates(folder)
    if done.returncode != 0:
        raise SystemExit(f"a bundle made for this was refused:\n{done.stdout}{done.stderr}")
    return f"{NAME}/{version}"


def gates(folder):
    return subprocess.run([harness.RELEASE / "fraudd", "model", "validate", folder], capture_output=True, text=True, cwd=harness.ROOT)


class Graph:
    """An ONNX file with nodes added to its graph; the output's name is new, the rest stays byte for byte."""

    def __init__(self, path):
        self.model = list(fields(path.read_bytes()))
        self.graph = list(fields(next(content for number, content in self.model if number == 7)))

    def tensor(self, name, kind, dims, values):
        data = struct.pack(f"<{len(values)}{'f' if kind == FLOAT else 'q'}", *values)
        parts = [(1, dim) for dim in dims] + [(2, kind), (8, name.encode()), (9, data)]
        self.graph.append((5, message(parts)))

    def node(self, operator, inputs, output, axis=None, front=False):
        parts = [(1, name.encode()) for name in inputs] + [(2, output.encode()), (4, operator.encode())]
        if axis is not None:
            parts.append((5, message([(1, b"axis"), (3, axis), (20, 2)])))
        self.graph.insert(0 if front else len(self.graph), (1, message(parts)))

    def input(self, name, width):
        """Replaces the only input by one of floats with a free batch."""
        self.graph = [(number, content) for number, content in self.graph if number != 11]
        self.graph.append((11, value(name, width)))

    def bytes(self, output):
        graph = message(self.graph + [(12, value(output, 2))])
        model = [(number, graph if number == 7 else content) for number, content in self.model]
        # Elementwise operators are of the default domain, which a graph of trees alone does not import.
        if not any(number == 8 and dict(fields(content)).get(1, b"") == b"" for number, content in self.model):
            model.append((8, message([(1, b""), (2, 15)])))
        return message(model)


def value(name, width):
    shape = message([(1, message([(2, b"rows")])), (1, message([(1, width)]))])
    return message([(1, name.encode()), (2, message([(1, message([(1, FLOAT), (2, shape)]))]))])


def fields(data):
    """Walks the fields of a message: numbers as numbers, the rest as bytes."""
    at = 0

    def varint():
        nonlocal at
        found = shift = 0
        while True:
            byte = data[at]
            at += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            length = varint()
            yield key >> 3, data[at : at + length]
            at += length
        else:
            raise SystemExit(f"an ONNX file with a field of wire type {key & 7} where none is known")


def message(parts):
    return b"".join(encoded(number, content) for number, content in parts)


def encoded(number, content):
    if isinstance(content, int):
        return varint_of(number << 3) + varint_of(content)
    return varint_of(number << 3 | 2) + varint_of(len(content)) + content


def varint_of(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))
