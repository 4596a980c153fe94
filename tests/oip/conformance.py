"""Calls a running fraudd with the clients that platforms use: tritonclient[http] and KServe's InferenceRESTClient.

Every call of theirs is made once at least. Calls that need what is not served (shared memory, trace and log
settings) must be refused with our own words, not with a decode error. The table in docs/inference-protocol.md
is held to what happens here. Started by conformance.sh.
"""

import asyncio
import json
import pathlib
import sys

import httpx
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from kserve import InferInput, InferOutput, InferRequest, InferenceRESTClient, RESTConfig
from kserve.errors import UnsupportedProtocol
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL, VERSION, STANDBY, EXTRA = "card-fraud", "1.0.0", "1.0.0-lr", "1.0.1"
ADDRESS = sys.argv[1]
CHECKS = []


def check(client, call, what, word="passes"):
    """Registers a check under the call it makes."""

    def register(function):
        CHECKS.append((client, call, what, word, function))
        return function

    return register


def golden(count):
    lines = (ROOT / "models" / MODEL / VERSION / "golden.jsonl").read_text().splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    cells = np.array([[np.nan if cell is None else cell for cell in row["row"]] for row in rows], dtype=np.float32)
    return cells, np.array([row["probability"] for row in rows])


ROWS, TRUTH = golden(40)
CLIENT = triton.InferenceServerClient(ADDRESS, concurrency=4)
INPUT, OUTPUT = "X", "probabilities"


def tensor(rows, datatype="FP32", binary=True):
    made = triton.InferInput(INPUT, list(rows.shape), datatype)
    made.set_data_from_numpy(rows, binary_data=binary)
    return made


def close(result, truth=TRUTH, tolerance=1e-5):
    found = result.as_numpy() if isinstance(result, InferOutput) else result.as_numpy(OUTPUT)
    assert found.shape == (len(truth), 2), found.shape
    off = np.abs(found[:, 1] - truth)
    # Float32 thresholds flip a few tree paths, as the bundle's tolerance says.
    assert np.mean(off <= tolerance) >= 0.97 and off.max() <= 0.03, off.max()


def refused(call, word):
    try:
        call()
    except InferenceServerException as error:
        assert word in str(error.message()), error
        return
    raise AssertionError("the call was not refused")


# tritonclient.http: health and metadata


@check("triton", "is_server_live", "")
def _():
    assert CLIENT.is_server_live()


@check("triton", "is_server_ready", "")
def _():
    assert CLIENT.is_server_ready(query_params={"a": 1})


@check("triton", "is_model_ready", "with and without a version; unknown ones are not ready")
def _():
    assert CLIENT.is_model_ready(MODEL) and CLIENT.is_model_ready(MODEL, STANDBY)
    assert not CLIENT.is_model_ready("other") and not CLIENT.is_model_ready(MODEL, "9")


@check("triton", "get_server_metadata", "")
def _():
    server = CLIENT.get_server_metadata()
    assert server["name"] == "fraudd" and "binary_tensor_data" in server["extensions"]


@check("triton", "get_model_metadata", "")
def _():
    model = CLIENT.get_model_metadata(MODEL)
    assert model["inputs"] == [{"name": INPUT, "datatype": "FP32", "shape": [-1, 55]}], model
    assert VERSION in model["versions"] and STANDBY in model["versions"]
    refused(lambda: CLIENT.get_model_metadata("other"), "no loaded model")


@check("triton", "get_model_config", "")
def _():
    config = CLIENT.get_model_config(MODEL, VERSION)
    assert config["max_batch_size"] > 0 and config["input"][0]["dims"] == [55], config


@check("triton", "get_inference_statistics", "one model and all")
def _():
    CLIENT.infer(MODEL, [tensor(ROWS)])
    one = CLIENT.get_inference_statistics(MODEL, VERSION)["model_stats"][0]
    assert one["inference_stats"]["success"]["count"] > 0 and one["inference_count"] >= 40, one
    assert len(CLIENT.get_inference_statistics()["model_stats"]) >= 2


# tritonclient.http: repository


@check("triton", "get_model_repository_index", "")
def _():
    index = {entry["version"]: entry for entry in CLIENT.get_model_repository_index()}
    assert index[VERSION]["state"] == "READY" and index[EXTRA]["state"] == "UNAVAILABLE", index


@check("triton", "load_model", "every gate, then a candidate; the answering model stays the same")
def _():
    CLIENT.load_model(MODEL)
    index = {entry["version"]: entry for entry in CLIENT.get_model_repository_index()}
    assert index[EXTRA] == {"name": MODEL, "version": EXTRA, "state": "READY", "reason": "candidate"}, index
    close(CLIENT.infer(MODEL, [tensor(ROWS)], model_version=EXTRA))
    assert CLIENT.infer(MODEL, [tensor(ROWS)]).get_response()["model_version"] == VERSION
    refused(lambda: CLIENT.load_model("other"), "no bundle")


@check("triton", "load_model(config=, files=)", "a bundle is loaded as it was packed", "refused, 501")
def _():
    refused(lambda: CLIENT.load_model(MODEL, config="{}"), "as it was packed")


@check("triton", "unload_model", "a candidate goes; the active model and the standby stay (409)")
def _():
    CLIENT.unload_model(MODEL)
    refused(lambda: CLIENT.infer(MODEL, [tensor(ROWS)], model_version=EXTRA), "no loaded model")
    refused(lambda: CLIENT.unload_model(MODEL), "is active and stays")


# tritonclient.http: infer


@check("triton", "infer", "JSON in, JSON out")
def _():
    outputs = [triton.InferRequestedOutput(OUTPUT, binary_data=False)]
    rows = ROWS[~np.isnan(ROWS).any(axis=1)]
    truth = TRUTH[~np.isnan(ROWS).any(axis=1)]
    close(CLIENT.infer(MODEL, [tensor(rows, binary=False)], outputs=outputs), truth)


@check("triton", "infer", "binary in, binary out")
def _():
    outputs = [triton.InferRequestedOutput(OUTPUT, binary_data=True)]
    close(CLIENT.infer(MODEL, [tensor(ROWS)], outputs=outputs))


@check("triton", "infer", "binary in, JSON out")
def _():
    close(CLIENT.infer(MODEL, [tensor(ROWS)], outputs=[triton.InferRequestedOutput(OUTPUT, binary_data=False)]))


@check("triton", "infer", "no outputs named: all of them, binary")
def _():
    close(CLIENT.infer(MODEL, [tensor(ROWS)]))


@check("triton", "infer", "NaN and Infinity in JSON")
def _():
    rows = ROWS[:2].copy()
    rows[0, 0], rows[1, 0] = np.nan, np.inf
    listed = CLIENT.infer(MODEL, [tensor(rows, binary=False)]).as_numpy(OUTPUT)
    assert np.array_equal(listed, CLIENT.infer(MODEL, [tensor(rows)]).as_numpy(OUTPUT), equal_nan=True)


@check("triton", "infer", "FP16, FP64, INT32, INT64 and BOOL inputs")
def _():
    whole = np.round(ROWS).clip(0, 1)
    for datatype, kind in [("FP16", np.float16), ("FP64", np.float64), ("INT32", np.int32), ("INT64", np.int64), ("BOOL", bool)]:
        found = CLIENT.infer(MODEL, [tensor(whole.astype(kind), datatype)]).as_numpy(OUTPUT)
        expected = CLIENT.infer(MODEL, [tensor(whole.astype(np.float32))]).as_numpy(OUTPUT)
        assert np.array_equal(found, expected), datatype


@check("triton", "infer", "model_version, request_id, priority, timeout, sequence and custom parameters")
def _():
    result = CLIENT.infer(
        MODEL, [tensor(ROWS)], model_version=STANDBY, request_id="r-1", priority=1, timeout=900_000,
        sequence_id=7, sequence_start=True, sequence_end=True, parameters={"mine": "x", "n": 1}, headers={"x-mine": "1"},
    )
    response = result.get_response()
    assert (response["id"], response["model_version"]) == ("r-1", STANDBY), response


@check("triton", "infer", "timeout passed: 504 with its reason")
def _():
    refused(lambda: CLIENT.infer(MODEL, [tensor(np.repeat(ROWS, 100, axis=0))], timeout=1), "deadline")


@check("triton", "infer", "class_count (classification)")
def _():
    outputs = [triton.InferRequestedOutput(OUTPUT, binary_data=True, class_count=2)]
    found = CLIENT.infer(MODEL, [tensor(ROWS[:3])], outputs=outputs).as_numpy(OUTPUT)
    assert found.shape == (3, 2), found.shape
    value, place = found[0][0].decode().split(":")[:2]
    assert abs(float(value) - max(TRUTH[0], 1 - TRUTH[0])) < 1e-4 and place in "01", found


@check("triton", "infer", "request_compression_algorithm gzip and deflate")
def _():
    for packing in ("gzip", "deflate"):
        close(CLIENT.infer(MODEL, [tensor(ROWS)], request_compression_algorithm=packing))


@check("triton", "infer", "response_compression_algorithm: answered unpacked, as HTTP allows")
def _():
    for packing in ("gzip", "deflate"):
        close(CLIENT.infer(MODEL, [tensor(ROWS)], response_compression_algorithm=packing))


@check("triton", "infer", "wrong calls are told why")
def _():
    refused(lambda: CLIENT.infer("other", [tensor(ROWS)]), "no loaded model")
    refused(lambda: CLIENT.infer(MODEL, [tensor(ROWS[:, :3])]), "shape [rows, 55]")
    refused(lambda: CLIENT.infer(MODEL, [tensor(ROWS)], outputs=[triton.InferRequestedOutput("other")]), "does not give")
    refused(lambda: CLIENT.infer(MODEL, [tensor(ROWS)], outputs=[triton.InferRequestedOutput(OUTPUT)] * 2), "twice")


@check("triton", "async_infer", "")
def _():
    waiting = [CLIENT.async_infer(MODEL, [tensor(ROWS)]) for _ in range(16)]
    for request in waiting:
        close(request.get_result())


@check("triton", "generate_request_body, parse_response_body", "")
def _():
    body, json_len = triton.InferenceServerClient.generate_request_body([tensor(ROWS)])
    headers = {"Inference-Header-Content-Length": str(json_len)}
    answer = httpx.post(f"http://{ADDRESS}/v2/models/{MODEL}/infer", content=bytes(body), headers=headers)
    header_len = int(answer.headers["Inference-Header-Content-Length"])
    close(triton.InferenceServerClient.parse_response_body(answer.content, header_length=header_len))


@check("triton", "aio.infer", "")
def _():
    async def call():
        async with triton_aio.InferenceServerClient(ADDRESS) as client:
            assert await client.is_server_live() and await client.is_model_ready(MODEL)
            close(await client.infer(MODEL, [tensor(ROWS)]))

    asyncio.run(call())


# tritonclient.http: what is not served


@check("triton", "get_trace_settings, update_trace_settings", "", "refused, 501")
def _():
    refused(lambda: CLIENT.get_trace_settings(), "not served")
    refused(lambda: CLIENT.update_trace_settings(MODEL, {"trace_rate": "1"}), "not served")


@check("triton", "get_log_settings, update_log_settings", "", "refused, 501")
def _():
    refused(lambda: CLIENT.get_log_settings(), "not served")
    refused(lambda: CLIENT.update_log_settings({"log_info": True}), "not served")


@check("triton", "register, unregister, status of system and cuda shared memory", "", "refused, 501")
def _():
    for call in (
        lambda: CLIENT.get_system_shared_memory_status(),
        lambda: CLIENT.register_system_shared_memory("r", "/k", 8),
        lambda: CLIENT.unregister_system_shared_memory("r"),
        lambda: CLIENT.get_cuda_shared_memory_status(),
        lambda: CLIENT.register_cuda_shared_memory("r", b"AAAA", 0, 8),
        lambda: CLIENT.unregister_cuda_shared_memory("r"),
    ):
        refused(call, "not served")


@check("triton", "infer with set_shared_memory", "", "refused, 400")
def _():
    region = triton.InferInput(INPUT, [1, 55], "FP32")
    region.set_shared_memory("r", 220)
    refused(lambda: CLIENT.infer(MODEL, [region]), "shared memory")


# kserve.InferenceRESTClient


def kserve(call):
    async def run():
        async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
            return await call(client, f"http://{ADDRESS}")

    return asyncio.run(run())


def kserve_input(rows, datatype="FP32", binary=False):
    made = InferInput(INPUT, list(rows.shape), datatype)
    made.set_data_from_numpy(rows, binary_data=binary)
    return made


@check("kserve", "is_server_live", "")
def _():
    assert kserve(lambda client, url: client.is_server_live(url)) is True


@check("kserve", "is_server_ready", "")
def _():
    assert kserve(lambda client, url: client.is_server_ready(url)) is True


@check("kserve", "is_model_ready", "unknown ones are not ready")
def _():
    assert kserve(lambda client, url: client.is_model_ready(url, MODEL)) is True
    assert kserve(lambda client, url: client.is_model_ready(url, "other")) is False


@check("kserve", "infer", "an InferRequest as JSON")
def _():
    request = InferRequest(model_name=MODEL, infer_inputs=[kserve_input(ROWS)], request_id="k-1")
    response = kserve(lambda client, url: client.infer(url, request, model_name=MODEL))
    assert (response.id, response.model_name) == ("k-1", MODEL)
    close(response.outputs[0])


@check("kserve", "infer", "an InferRequest with binary tensors")
def _():
    request = InferRequest(model_name=MODEL, infer_inputs=[kserve_input(ROWS, binary=True)])
    close(kserve(lambda client, url: client.infer(url, request, model_name=MODEL)).outputs[0])


@check("kserve", "infer", "FP16 inputs")
def _():
    whole = np.round(ROWS).clip(0, 1)
    ask = lambda rows, kind: kserve(
        lambda client, url: client.infer(
            url, InferRequest(model_name=MODEL, infer_inputs=[kserve_input(rows, kind, binary=True)]), model_name=MODEL
        )
    ).outputs[0].as_numpy()
    assert np.array_equal(ask(whole.astype(np.float16), "FP16"), ask(whole.astype(np.float32), "FP32"))


@check("kserve", "infer", "a dict, with null for what is missing")
def _():
    data = [None if np.isnan(cell) else float(cell) for cell in ROWS.flatten()]
    data[0] = None
    body = {"inputs": [{"name": INPUT, "shape": [40, 55], "datatype": "FP32", "data": data}]}
    response = kserve(lambda client, url: client.infer(url, body, model_name=MODEL))
    assert response.outputs[0].as_numpy().shape == (40, 2)


@check("kserve", "infer", "wrong calls are told why")
def _():
    body = {"inputs": [{"name": INPUT, "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    for name, word in ((MODEL, "shape [rows, 55]"), ("other", "no loaded model")):
        try:
            kserve(lambda client, url: client.infer(url, body, model_name=name))
        except httpx.HTTPStatusError as error:
            assert word in str(error), error
        else:
            raise AssertionError("the call was not refused")


@check("kserve", "explain", "the client itself knows it in protocol v1 only", "cannot")
def _():
    try:
        kserve(lambda client, url: client.explain(url, MODEL, {}))
    except UnsupportedProtocol:
        return
    raise AssertionError("explain was sent")


def main():
    rows, failed = [], 0
    for client, call, what, word, function in CHECKS:
        try:
            function()
            outcome = "ok"
        except Exception as error:  # noqa: BLE001: whatever a client raises is a finding
            outcome, failed = f"FAILED: {type(error).__name__}: {error}", failed + 1
        rows.append(f"| {client} | `{call}` | {what} | {word} |")
        print(f"{client:7} {call:40} {what:75} {outcome}", flush=True)
    page = (ROOT / "docs" / "inference-protocol.md").read_text()
    documented = [line for line in page.splitlines() if line.startswith(("| triton |", "| kserve |"))]
    if documented != rows:
        failed += 1
        print("the table in docs/inference-protocol.md is not what was called; it should be\n" + "\n".join(rows))
    print(f"{len(CHECKS)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


main()
