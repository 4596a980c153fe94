"""Measures what each exporter does to scores, and whether fraudd serves the result: writes docs/converters.md.

    converters.py --fraudd target/release/fraudd [--out docs/converters.md]

Each model is fitted on a seeded table shaped like card transactions, exported, and run by ONNX Runtime 1.28.0 on 40,000
other rows. "moved" is the share of rows whose score differs by more than 1e-5 from the trainer's predict_proba on the
same float32 rows; "moved, float64" compares with predict_proba on the doubles before they were rounded, which is what a
trainer who never thinks of float32 expects. Then fraudd packs and validates it.
"""

import argparse
import importlib.metadata
import json
import pathlib
import subprocess
import tempfile
import warnings

import lightgbm
import numpy
import onnx
import onnxmltools
import onnxruntime
import pandas
import xgboost
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType as ConverterFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import estimators

NAMES = ["amount", "count_1d", "mean_7d", "ratio", "risk_7d", "is_night", "is_weekend", "hour"]
CLOSE = 1e-5
GOLDEN_ROWS = 3000


def table(rows, seed):
    random = numpy.random.default_rng(seed)
    mean = random.uniform(5, 100, rows)
    amount = numpy.abs(random.normal(mean, mean / 2)) * numpy.where(random.random(rows) < 0.02, 5, 1)
    count = random.poisson(3, rows)
    risk = random.beta(0.2, 20, rows)
    hour = random.integers(0, 24, rows)
    night, weekend = hour <= 6, random.integers(0, 7, rows) >= 5
    cells = numpy.column_stack([amount, count, mean, amount / mean, risk, night, weekend, hour]).astype(float)
    logit = -6 + 0.012 * amount + 0.9 * cells[:, 3] + 12 * risk + 0.4 * night
    return cells, (random.random(rows) < 1 / (1 + numpy.exp(-logit))).astype(int)


def sklearn_export(model, zipmap):
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    kind = [("X", FloatTensorType([None, len(NAMES)]))]
    return to_onnx(model, initial_types=kind, options={id(last): {"zipmap": zipmap}}, target_opset=estimators.SKLEARN_OPSET)


def booster_export(convert, **options):
    return lambda model: convert(model, initial_types=[("X", ConverterFloat([None, len(NAMES)]))], target_opset=estimators.OPSET, **options)


def mlp_graph(model):
    """A perceptron as PyTorch exports one: Gemm, Relu, Gemm, Sigmoid, one column out."""
    scaler, net = model.steps[0][1], model.steps[1][1]
    weight = net.coefs_[0] / scaler.scale_[:, None]
    bias = net.intercepts_[0] - (scaler.mean_ / scaler.scale_) @ net.coefs_[0]
    arrays = {"w0": weight, "b0": bias, "w1": net.coefs_[1], "b1": net.intercepts_[1]}
    parts = [numpy_helper.from_array(array.astype(numpy.float32), name) for name, array in arrays.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in (("x", len(NAMES)), ("p", 1))]
    graph = helper.make_graph(nodes, "main_graph", ends[:1], ends[1:], parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def matrix():
    """Every model with its exporter and the declared tolerance (share, size), when wider than the default."""
    skl, tools = "skl2onnx", "onnxmltools"
    forest = RandomForestClassifier(100, max_depth=12, random_state=0, n_jobs=2)
    return [
        ("scikit-learn LogisticRegression, tensor", LogisticRegression(max_iter=3000), skl, lambda m: sklearn_export(m, False), None),
        ("scikit-learn StandardScaler + LogisticRegression, tensor", estimators.logistic(), skl, lambda m: sklearn_export(m, False), None),
        ("scikit-learn StandardScaler + LogisticRegression, ZipMap", estimators.logistic(), skl, lambda m: sklearn_export(m, True), None),
        ("scikit-learn RandomForest", forest, skl, lambda m: sklearn_export(m, False), None),
        ("scikit-learn StandardScaler + RandomForest", make_pipeline(StandardScaler(), forest), skl, lambda m: sklearn_export(m, False), (0.02, 0.1)),
        ("scikit-learn HistGradientBoosting", HistGradientBoostingClassifier(random_state=0), skl, lambda m: sklearn_export(m, False), None),
        ("XGBoost, exact", estimators.boosted(exact=True), tools, booster_export(onnxmltools.convert_xgboost), None),
        ("XGBoost, hist with 4,096 bins", estimators.boosted(), tools, booster_export(onnxmltools.convert_xgboost), None),
        ("LightGBM, tensor", estimators.light(), tools, booster_export(onnxmltools.convert_lightgbm, zipmap=False), None),
        ("LightGBM, ZipMap", estimators.light(), tools, booster_export(onnxmltools.convert_lightgbm), None),
        ("perceptron 32, the graph torch.onnx writes", make_pipeline(StandardScaler(), MLPClassifier((32,), random_state=0, max_iter=40)), "by hand", mlp_graph, None),
    ]


def onnx_scores(model, rows):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = max((out.name for out in session.get_outputs()), key=lambda name: ("prob" in name.lower(), name == "p"))
    answer = session.run([name], {session.get_inputs()[0].name: rows.astype(numpy.float32)})[0]
    if isinstance(answer, list):
        return numpy.array([entry[1] for entry in answer])
    return answer.reshape(len(rows), -1)[:, -1].astype(float)


def moved(a, b):
    off = numpy.abs(a - b)
    return f"{(off > CLOSE).mean():.2%}, largest {off.max():.1e}"


def verdict(fraudd, data, model, rows, labels, tolerance):
    """What fraudd says: packed and every gate passed, or the reason."""
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "model.onnx").write_bytes(data)
        features = "".join(f'[[feature]]\nname = "{name}"\ndescription = "{name}."\nexpr = "1.0"\n' for name in NAMES)
        (place / "features.toml").write_text('name = "converters"\nmissing = 0.0\n' + features)
        golden = pandas.DataFrame(rows[:GOLDEN_ROWS].astype(numpy.float32).astype(float), columns=NAMES)
        golden.to_csv(place / "training.csv", index=False)
        golden["label"], golden["weight"] = labels[:GOLDEN_ROWS], 1.0
        golden["probability"] = model.predict_proba(rows[:GOLDEN_ROWS].astype(numpy.float32))[:, 1]
        golden.to_csv(place / "golden.csv", index=False)
        wider = ["--tolerance-share", str(tolerance[0]), "--tolerance-size", str(tolerance[1])] if tolerance else []
        files = [f"--{key}={place / name}" for key, name in
                 (("model", "model.onnx"), ("schema", "features.toml"), ("golden", "golden.csv"), ("training", "training.csv"))]
        packed = subprocess.run(
            [fraudd, "model", "pack", *files, "--name=converters", "--version=1", "--review=0.2", "--decline=0.8", f"--out={place / 'bundle'}", *wider],
            capture_output=True, text=True, check=False,
        )
        if packed.returncode:
            return packed.stderr.strip()
        report = subprocess.run([fraudd, "model", "validate", place / "bundle", "--json"], capture_output=True, text=True, check=False)
        failed = [check["reason"] for check in json.loads(report.stdout)["checks"] if check["outcome"] == "fail"]
        served = "served" if not tolerance else f"served, tolerance declared ({tolerance[0]:.0%} of rows by up to {tolerance[1]})"
        return served if report.returncode == 0 else "; ".join(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraudd", default="target/release/fraudd")
    parser.add_argument("--out", default="docs/converters.md")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    (rows, labels), (other, truth) = table(40_000, 1), table(40_000, 2)
    version = importlib.metadata.version
    lines = []
    for name, model, exporter, export, tolerance in matrix():
        model.fit(rows.astype(numpy.float32), labels)
        with_version = exporter if exporter == "by hand" else f"{exporter} {version(exporter)}"
        try:
            data = export(model).SerializeToString()
        except Exception as error:  # An exporter may fail in any way; the table says so.
            lines.append(f"| {name} | {with_version} | - | - | does not export: {type(error).__name__} |")
            print(lines[-1])
            continue
        ours = onnx_scores(data, other)
        narrow = model.predict_proba(other.astype(numpy.float32))[:, 1]
        wide = model.predict_proba(other)[:, 1]
        said = verdict(args.fraudd, data, model, other, truth, tolerance)
        lines.append(f"| {name} | {with_version} | {moved(ours, narrow)} | {moved(ours, wide)} | {said} |")
        print(lines[-1])
    libraries = ", ".join(f"{name} {version(name)}" for name in ("xgboost", "lightgbm", "scikit-learn", "onnx", "numpy"))
    text = f"""# Exporters: what works, with which version

Written by `models/training/converters.py`; do not edit. {libraries}; ONNX Runtime {onnxruntime.__version__}, opset {estimators.OPSET}.
40,000 rows; "moved" is the share of scores more than 1e-5 away from the trainer's `predict_proba`.

| model | exporter | moved, on float32 rows | moved, against float64 rows | fraudd |
|---|---|---|---|---|
""" + "\n".join(lines) + """

Trees compare float32 numbers with float32 thresholds: a double that is rounded may fall on the other side. Train and
predict on float32 rows and the export is exact. A scaler before a forest moves rows even then, because the export scales
in float32: declare it when packing (`--tolerance-share`, `--tolerance-size`), or leave the scaler out, since a forest does not
need one.
"""
    pathlib.Path(args.out).write_text(text)


if __name__ == "__main__":
    main()
