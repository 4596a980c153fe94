"""Makes the small models that the tests serve or refuse, with golden rows by each trainer's own library.

Run with the pinned Python of models/training (`models/training/setup.sh`):
    .deps/python/bin/python tests/golden/models/make.py
Deterministic: the same pins give the same bytes but for producer strings.
"""

import json
import pathlib
import warnings

import lightgbm
import numpy
import onnx
import onnxmltools
import xgboost
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
NAMES = ["amount", "hour", "is_weekend", "is_night"]
OPSET = {"": 15, "ai.onnx.ml": 3}
random = numpy.random.default_rng(7)


def table(rows):
    amount = random.gamma(2.0, 30.0, rows).round(2)
    hour = random.integers(0, 24, rows)
    weekend = random.integers(0, 2, rows)
    night = (hour <= 6).astype(int)
    logit = -3.2 + 0.02 * amount + 1.1 * night - 0.2 * weekend
    label = (random.random(rows) < 1 / (1 + numpy.exp(-logit))).astype(int)
    return numpy.column_stack([amount, hour, weekend, night]).astype(numpy.float32), label


X, y = table(4000)
GOLDEN, TRUTH = table(700)


def write_golden(name, probability):
    lines = [
        json.dumps({"row": [float(v) for v in row], "label": bool(label), "probability": float(p)})
        for row, label, p in zip(GOLDEN, TRUTH, probability)
    ]
    (HERE / f"golden_{name}.jsonl").write_text("\n".join(lines) + "\n")


def save(name, model):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (HERE / f"{name}.onnx").write_bytes(data)


def graph_of_logistic(logistic, scaler):
    """The scaled logistic regression as one weight vector and one bias."""
    weight = logistic.coef_[0] / scaler.scale_
    bias = logistic.intercept_[0] - float((weight * scaler.mean_).sum())
    return weight.astype(numpy.float32).reshape(-1, 1), numpy.array([bias], numpy.float32)


def hand_made(name, nodes, outputs, initializers, width=4, batch="N", element=TensorProto.FLOAT):
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("X", element, [batch, width])],
        outputs,
        initializers,
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def output(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def main():
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.astype(numpy.float64), y)
    scaler, logistic = scaled.steps[0][1], scaled.steps[1][1]
    probability = scaled.predict_proba(GOLDEN)[:, 1]
    write_golden("logistic", probability)
    training = "\n".join(",".join(f"{v:g}" for v in row) for row in X[:1500])
    (HERE / "training.csv").write_text(",".join(NAMES) + "\n" + training + "\n")

    four = [("X", FloatTensorType([None, 4]))]
    options = {id(logistic): {"zipmap": False}}
    save("logistic_tensor", to_onnx(scaled, initial_types=four, options=options, target_opset=OPSET))
    save("logistic_zipmap", to_onnx(scaled, initial_types=four, target_opset=OPSET))
    double = [("X", DoubleTensorType([None, 4]))]
    save("logistic_double", to_onnx(scaled, initial_types=double, options=options, target_opset=OPSET))
    fixed = [("X", FloatTensorType([1, 4]))]
    save("logistic_batch_one", to_onnx(scaled, initial_types=fixed, options=options, target_opset=OPSET))
    words = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.astype(numpy.float64), numpy.where(y, "fraud", "Genuine"))
    # Classes are sorted: "Genuine" comes before "fraud".
    save("logistic_text_zipmap", to_onnx(words, initial_types=four, target_opset=OPSET))
    columns = [(name, FloatTensorType([None, 1])) for name in NAMES]
    columns[1] = ("hour", Int64TensorType([None, 1]))
    save("logistic_columns", columns_model(logistic, scaler, columns))

    forest = RandomForestClassifier(20, max_depth=5, min_samples_leaf=5, random_state=0).fit(X, y)
    write_golden("forest", forest.predict_proba(GOLDEN)[:, 1])
    save("forest_tensor", to_onnx(forest, initial_types=four, options={id(forest): {"zipmap": False}}, target_opset=OPSET))

    boosted = xgboost.XGBClassifier(n_estimators=20, max_depth=3, tree_method="exact", n_jobs=1).fit(X, y)
    write_golden("xgboost", boosted.predict_proba(GOLDEN)[:, 1])
    save("xgboost_tensor", onnxmltools.convert_xgboost(boosted, initial_types=[("X", MlFloat([None, 4]))], target_opset=15))

    light = lightgbm.LGBMClassifier(n_estimators=20, num_leaves=7, n_jobs=1, verbose=-1).fit(X, y)
    write_golden("lightgbm", light.predict_proba(GOLDEN)[:, 1])
    for zipmap in (True, False):
        model = onnxmltools.convert_lightgbm(light, initial_types=[("X", MlFloat([None, 4]))], target_opset=15, zipmap=zipmap)
        save("lightgbm_zipmap" if zipmap else "lightgbm_tensor", model)

    weight, bias = graph_of_logistic(logistic, scaler)
    parts = [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(bias, "b")]
    gemm = helper.make_node("Gemm", ["X", "W", "b"], ["logit"])
    sigmoid = helper.make_node("Sigmoid", ["logit"], ["p"])
    one = [output("p", ["N", 1])]
    save("hand_one_column", hand_made("one", [gemm, sigmoid], one, parts))
    axes = numpy_helper.from_array(numpy.array([1], numpy.int64), "axes")
    squeeze = helper.make_node("Squeeze", ["p", "axes"], ["flat"])
    save("hand_flat", hand_made("flat", [gemm, sigmoid, squeeze], [output("flat", ["N"])], parts + [axes]))

    # What must be refused.
    unit = numpy_helper.from_array(numpy.array([1.0], numpy.float32), "one")
    minus = helper.make_node("Sub", ["one", "p"], ["q"])
    swapped = helper.make_node("Concat", ["p", "q"], ["probabilities"], axis=1)
    save("bad_swapped", hand_made("swapped", [gemm, sigmoid, minus, swapped], [output("probabilities", ["N", 2])], parts + [unit]))
    save("bad_logit", hand_made("logit", [gemm], [output("logit", ["N", 1])], parts))
    limit = numpy_helper.from_array(numpy.array([5000.0], numpy.float32), "limit")
    nothing = numpy_helper.from_array(numpy.array([numpy.nan], numpy.float32), "nothing")
    amount = helper.make_node("Gather", ["X", "zero"], ["amount"], axis=1)
    zero = numpy_helper.from_array(numpy.array([0], numpy.int64), "zero")
    huge = helper.make_node("Greater", ["amount", "limit"], ["huge"])
    where = helper.make_node("Where", ["huge", "nothing", "p"], ["probability"])
    nodes = [gemm, sigmoid, amount, huge, where]
    save("bad_nan", hand_made("nan", nodes, [output("probability", ["N", 1])], parts + [limit, nothing, zero]))
    five = numpy_helper.from_array(numpy.vstack([weight, weight[:1]]), "W")
    save("bad_signature", hand_made("signature", [gemm, sigmoid], one, [five, parts[1]], width=5))
    noise = helper.make_node("RandomUniformLike", ["p"], ["noise"], high=1e-9)
    add = helper.make_node("Add", ["p", "noise"], ["probability"])
    save("bad_operator", hand_made("operator", [gemm, sigmoid, noise, add], [output("probability", ["N", 1])], parts))
    save("bad_slow", slow(parts, gemm, sigmoid))
    save("bad_hungry", hungry(parts, gemm, sigmoid))
    text = hand_made("text", [helper.make_node("Identity", ["X"], ["out"])], [output("p", ["N", 1])], [])
    text.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    encode = helper.make_node("LabelEncoder", ["X"], ["numbers"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0], default_float=0.0)
    del text.graph.node[:]
    text.graph.node.extend([encode, helper.make_node("Gemm", ["numbers", "W", "b"], ["logit"]), sigmoid])
    text.graph.initializer.extend(parts)
    save("bad_text_input", text)
    outside = onnx.load_from_string((HERE / "hand_one_column.onnx").read_bytes())
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    save("bad_external", outside)


def big(name, size):
    shape = numpy_helper.from_array(numpy.array([size, size], numpy.int64), f"{name}_shape")
    value = numpy_helper.from_array(numpy.array([1.0], numpy.float32), "v")
    return shape, helper.make_node("ConstantOfShape", [f"{name}_shape"], [f"{name}_0"], value=value)


def anchored(name, size):
    """A large matrix that depends on the input, so that it is not folded away when the model is loaded."""
    shape, fill = big(name, size)
    mean = helper.make_node("ReduceMean", ["p"], [f"{name}_mean"], keepdims=0)
    scaled = helper.make_node("Mul", [f"{name}_0", f"{name}_mean"], [f"{name}_1"])
    return [shape], [fill, mean, scaled]


def back_to_probability(name, last):
    total = helper.make_node("ReduceMean", [last], [f"{name}_total"], keepdims=0)
    none = helper.make_node("Mul", [f"{name}_total", "nought"], [f"{name}_none"])
    return [total, none, helper.make_node("Add", ["p", f"{name}_none"], ["probability"])]


def slow(parts, gemm, sigmoid):
    initializers, nodes = anchored("slow", 1200)
    for step in range(1, 13):
        nodes.append(helper.make_node("MatMul", [f"slow_{step}", f"slow_{step}"], [f"slow_x{step}"]))
        nodes.append(helper.make_node("Tanh", [f"slow_x{step}"], [f"slow_{step + 1}"]))
    nodes += back_to_probability("slow", "slow_13")
    nought = numpy_helper.from_array(numpy.array(0.0, numpy.float32), "nought")
    return hand_made("slow", [gemm, sigmoid] + nodes, [output("probability", ["N", 1])], parts + initializers + [nought])


def hungry(parts, gemm, sigmoid):
    initializers, nodes = anchored("hungry", 60000)
    nodes += back_to_probability("hungry", "hungry_1")
    nought = numpy_helper.from_array(numpy.array(0.0, numpy.float32), "nought")
    return hand_made("hungry", [gemm, sigmoid] + nodes, [output("probability", ["N", 1])], parts + initializers + [nought])


def columns_model(logistic, scaler, columns):
    """One input a column, the second an integer, in another order than the schema's."""
    weight, bias = graph_of_logistic(logistic, scaler)
    infos, casts, names = [], [], []
    for name, kind in columns:
        element = TensorProto.INT64 if isinstance(kind, Int64TensorType) else TensorProto.FLOAT
        infos.append(helper.make_tensor_value_info(name, element, ["N", 1]))
        casts.append(helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT))
        names.append(f"{name}_f")
    nodes = casts + [
        helper.make_node("Concat", names, ["row"], axis=1),
        helper.make_node("Gemm", ["row", "W", "b"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p"]),
    ]
    parts = [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(nodes, "columns", infos[::-1], [output("p", ["N", 1])], parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


main()
