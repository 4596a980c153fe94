"""The peers' scoring core: one checked transaction in, one decision out, as fraudd answers it.

    body ──pydantic──> transaction ──> 101 features ──> model ──> 20 rules ──> outcome ──> JSON

The same check of fields, features (check_parity.py), rules, model file, thresholds and contributions when the outcome
is not approve (under the same CPU budget). One ONNX Runtime thread that does not spin. `fastapi_scorer.py` puts HTTP
before it, `kafka/` puts a topic there. Left out, all to the peers' favour: metrics, traces, logs, deadlines,
lists, the stand-in's running totals, card-number checks, removal of old entities.
"""

import hashlib
import json
import os
import pathlib
import time
import tomllib
from datetime import UTC, datetime
from typing import Annotated, Literal

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy
import onnxruntime
import orjson
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict

from features import MISSING, Features
from rules import SEVERITY, evaluate
from transaction_time import micros

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONTRIBUTIONS_MAX = 4
CONTRIBUTION_MIN = 0.001
REASONS_MAX = 12
EXPLAIN_SECONDS_PER_SECOND = 0.1
FUTURE_MICROS_MAX = 300 * 1_000_000

Id = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^\S+$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,32}$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
FourDigits = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]
STRICT = ConfigDict(extra="forbid", strict=True)


@with_config(STRICT)
class CardFields(TypedDict, total=False):
    token: Id
    bin: Annotated[str, StringConstraints(pattern=r"^[0-9]{6,8}$")]
    last4: FourDigits
    brand: Word
    country: Country
    funding: Word


@with_config(STRICT)
class MerchantFields(TypedDict, total=False):
    id: Id
    mcc: FourDigits
    country: Country
    terminal_id: Id


@with_config(STRICT)
class CounterpartyFields(TypedDict, total=False):
    id: Id
    bank: Id
    country: Country


@with_config(STRICT)
class DeviceFields(TypedDict, total=False):
    id: Id
    ip: Annotated[str, StringConstraints(max_length=45)]
    fingerprint: Id


@with_config(STRICT)
class Place(TypedDict):
    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


@with_config(STRICT)
class AddressFields(TypedDict, total=False):
    country: Country


@with_config(STRICT)
class AuthenticationFields(TypedDict, total=False):
    three_ds: Word
    cvc: Word
    avs: Word


@with_config(STRICT)
class AuthorisationFields(TypedDict, total=False):
    result: Word


@with_config(STRICT)
class Transaction(TypedDict):
    transaction_id: Id
    occurred_at: Annotated[str, StringConstraints(min_length=20, max_length=35)]
    amount: Annotated[int, Field(ge=0, le=2**53)]
    # One currency: the peer has no rate table.
    currency: Literal["EUR"]
    customer_id: NotRequired[Id]
    account_id: NotRequired[Id]
    email_hash: NotRequired[Id]
    card: NotRequired[CardFields]
    merchant: NotRequired[MerchantFields]
    counterparty: NotRequired[CounterpartyFields]
    channel: NotRequired[Word]
    type: NotRequired[Word]
    device: NotRequired[DeviceFields]
    location: NotRequired[Place]
    billing: NotRequired[AddressFields]
    shipping: NotRequired[AddressFields]
    authentication: NotRequired[AuthenticationFields]
    authorisation: NotRequired[AuthorisationFields]
    attributes: NotRequired[dict[str, str | int | float | bool]]


PARSE = TypeAdapter(Transaction).validate_json


class Model:
    """One ONNX Runtime session: probability of class 1 from rows of inputs."""

    def __init__(self, path, inputs, baseline, facts, thresholds):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        # The probabilities come last; the label, whose shape may lie, is not asked for.
        self.output = [self.session.get_outputs()[-1].name]
        self.inputs, self.facts, self.thresholds = inputs, facts, thresholds
        self.defaults = [MISSING.get(name, 0.0) for name in inputs]
        self.baseline = numpy.array(baseline, dtype=numpy.float32)
        self.columns = list(zip(inputs, self.defaults))

    def row(self, features):
        values = [default if (value := features[name]) != value else value for name, default in self.columns]
        return numpy.array([values], dtype=numpy.float32)

    def score(self, rows):
        found = self.session.run(self.output, {self.input: rows})[0]
        return found[:, -1] if found.ndim == 2 else found

    def outcome(self, risk):
        for name in ("decline", "challenge", "review"):
            limit = self.thresholds.get(name)
            if limit is not None and risk >= limit:
                return name
        return "approve"


class Explainer:
    """Contributions by putting one input at a time back to its baseline, within a CPU budget a second."""

    def __init__(self):
        self.seconds, self.filled_at, self.row_seconds = EXPLAIN_SECONDS_PER_SECOND, time.monotonic(), 10e-6

    def contributions(self, model, row, score):
        now = time.monotonic()
        filled = self.seconds + (now - self.filled_at) * EXPLAIN_SECONDS_PER_SECOND
        self.seconds, self.filled_at = min(filled, EXPLAIN_SECONDS_PER_SECOND), now
        places = numpy.flatnonzero(row[0] != model.baseline)
        if not len(places) or self.seconds < self.row_seconds * len(places):
            return None
        rows = numpy.repeat(row, len(places), axis=0)
        rows[numpy.arange(len(places)), places] = model.baseline[places]
        amounts = score - model.score(rows)
        took = time.monotonic() - now
        self.seconds -= took
        self.row_seconds += 0.1 * (took / len(places) - self.row_seconds)
        largest = numpy.argsort(-numpy.abs(amounts))[:CONTRIBUTIONS_MAX]
        return [(model.inputs[places[at]], float(amounts[at])) for at in largest if abs(amounts[at]) >= CONTRIBUTION_MIN]


class Core:
    """State, model and rules: checked transactions in, decisions out."""

    def __init__(self, model, schema):
        self.model, self.features, self.explainer = model, Features(), Explainer()
        self.texts = {feature["name"]: (feature["code"], feature["description"]) for feature in schema["feature"]}
        self.shared = {
            "model": orjson.Fragment(orjson.dumps(model.facts)),
            "rules_version": digest(ROOT / "config/rules.toml")[:16],
            "policy_version": "2026-01",
            "schema_hash": digest(ROOT / "models/schemas/card-fraud.toml"),
            "rates_version": "none",
        }
        self.thresholds = orjson.Fragment(orjson.dumps(model.thresholds))

    def answer(self, tx, occurred_at, began):
        """Decides one transaction by itself."""
        started = time.perf_counter_ns()
        features = self.features.observe(tx, occurred_at)
        extracted = time.perf_counter_ns()
        row = self.model.row(features)
        score = float(self.model.score(row)[0])
        scored = time.perf_counter_ns()
        spent = {"features": (extracted - started) // 1000, "model": (scored - extracted) // 1000}
        return self.conclude(tx, features, row, score, began, spent)[1]

    def conclude(self, tx, features, row, score, began, spent):
        """Rules, outcome, reasons: returns the outcome and the decision as JSON."""
        scored = time.perf_counter_ns()
        model = self.model
        verdicts, hits = evaluate(features, tx, score)
        outcome, source, risk, decisive = self.outcome(score, hits)
        ruled = time.perf_counter_ns()
        contributions, omitted = [], None
        if outcome != "approve":
            contributions = self.explainer.contributions(model, row, score)
            omitted = "budget" if contributions is None else None
        transaction_id = tx["transaction_id"]
        decision = {
            "decision_id": decision_id(transaction_id),
            "transaction_id": transaction_id,
            "outcome": outcome,
            "score": score,
            "risk_score": round(risk * 1000),
            "thresholds": self.thresholds,
            "reasons": self.reasons(score, outcome, hits, decisive, contributions or []),
            **({"explanation_omitted": omitted} if omitted else {}),
            "rules": verdicts,
            **self.shared,
            "decision_source": source,
            "degraded": False,
            "degraded_reasons": [],
            "evaluation_status": "new",
            "latency_us": {
                "total": (time.perf_counter_ns() - began) // 1000,
                "features": spent["features"],
                "rules": (ruled - scored) // 1000,
                "model": spent["model"],
            },
            "trace_id": os.urandom(16).hex(),
            "evaluated_at": datetime.now(UTC),
        }
        return outcome, orjson.dumps(decision, option=orjson.OPT_UTC_Z)

    def outcome(self, score, hits):
        """A rule's outcome first, then score and weights together, as scoring::decide does."""
        points = sum(rule[1] for rule in hits if isinstance(rule[1], int))
        risk = min(max(score + points / 1000, 0.0), 1.0) if points else score
        asking = [rule for rule in hits if isinstance(rule[1], str)]
        if asking:
            strongest = max(asking, key=lambda rule: SEVERITY[rule[1]])
            return strongest[1], "rules", risk, strongest
        outcome = self.model.outcome(risk)
        if outcome == self.model.outcome(score):
            return outcome, "model", risk, None
        return outcome, "rules", risk, max((rule for rule in hits), key=lambda rule: rule[1])

    def reasons(self, score, outcome, hits, decisive, contributions):
        told = []
        if decisive is None:
            text = f"The score says {outcome}."
            told.append({"code": "SCORE", "description": text, "contribution": score, "source": "model", "decisive": True})
        for rule in sorted(hits, key=lambda rule: rule is not decisive):
            weight = {"contribution": rule[1] / 1000} if isinstance(rule[1], int) else {}
            reason = {"code": rule[2], "description": rule[3], **weight, "source": "rule", "decisive": rule is decisive}
            told.append(reason)
        for name, amount in contributions:
            code, description = self.texts[name]
            reason = {"code": code, "description": description, "contribution": amount, "source": "model", "decisive": False}
            told.append(reason)
        return told[:REASONS_MAX]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def decision_id(transaction_id):
    return "dec_" + hashlib.blake2b(transaction_id.encode(), digest_size=16).hexdigest()


def newest_bundle():
    bundles = sorted(ROOT.glob("models/card-fraud/*/manifest.toml"), key=lambda path: version_key(path.parent.name))
    active = [path for path in bundles if tomllib.loads(path.read_text())["role"] == "active"]
    if not bundles:
        raise SystemExit("no bundle in models/card-fraud: name one with --bundle, or a model with --model")
    return (active or bundles)[-1].parent


def version_key(name):
    return [int(part) if part.isdigit() else -1 for part in name.replace("-", ".").split(".")]


def load(bundle=None, model=None):
    """Model and schema: of a bundle, or of an ONNX file alone for a try."""
    schema_path = ROOT / "models/schemas/card-fraud.toml"
    if model:
        schema = tomllib.loads(schema_path.read_text())
        inputs = [feature["name"] for feature in schema["feature"] if feature.get("input", True)]
        facts = {"name": "try", "version": "0", "sha256": digest(model), "role": "active"}
        return Model(model, inputs, [0.0] * len(inputs), facts, {"review": 0.5, "decline": 0.9}), schema
    bundle = bundle or newest_bundle()
    manifest = tomllib.loads((bundle / "manifest.toml").read_text())
    schema = tomllib.loads((bundle / "features.toml").read_text())
    facts = {
        "name": manifest["name"],
        "version": manifest["version"],
        "sha256": digest(bundle / "model.onnx"),
        "role": "active",
    }
    baseline = baseline_values(json.loads((bundle / "baseline.json").read_text()), manifest["inputs"])
    return Model(bundle / "model.onnx", manifest["inputs"], baseline, facts, manifest["thresholds"]), schema


def baseline_values(baseline, inputs):
    """The value that stands for "usual": what fraudd's explanations put a feature back to."""
    by_name = {feature["name"]: feature["baseline"] for feature in baseline["features"]}
    return [by_name[name] for name in inputs]
