#!/usr/bin/env python3
"""The peer: what a good engineer builds with FastAPI and ONNX Runtime for the same work.

`POST /v1/decisions` as fraudd answers it: the core of scorer.py, idempotency by transaction id, ledger in
memory. One worker, uvloop, httptools.

    fastapi_scorer.py --port 8090 --bundle models/card-fraud/1.0.0
    fastapi_scorer.py --port 8090 --model tiny.onnx       any classifier over the schema's inputs, for a try
"""

import argparse
import gc
import pathlib
import time

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from scorer import FUTURE_MICROS_MAX, PARSE, Core, ValidationError, load, micros

LEDGER_LEN_MAX = 4_000_000


class Scorer(Core):
    """One transaction in, one answer out, the same again for the same id."""

    def __init__(self, model, schema):
        super().__init__(model, schema)
        self.ledger = {}

    def decide(self, body):
        """Returns status and answer."""
        began = time.perf_counter_ns()
        try:
            tx = PARSE(body)
            occurred_at = micros(tx["occurred_at"])
        except ValidationError as error:
            errors = [{"pointer": "/" + "/".join(map(str, e["loc"])), "detail": e["msg"]} for e in error.errors()]
            return 422, orjson.dumps({"code": "invalid_transaction", "status": 422, "errors": errors})
        except ValueError as error:
            errors = [{"pointer": "/occurred_at", "detail": str(error)}]
            return 422, orjson.dumps({"code": "invalid_transaction", "status": 422, "errors": errors})
        if occurred_at > time.time_ns() // 1000 + FUTURE_MICROS_MAX:
            errors = [{"pointer": "/occurred_at", "detail": "more than 5 minutes ahead"}]
            return 422, orjson.dumps({"code": "invalid_transaction", "status": 422, "errors": errors})
        transaction_id = tx["transaction_id"]
        known = self.ledger.get(transaction_id)
        if known is not None:
            if known[0] != body and PARSE(known[0]) != tx:
                return 422, orjson.dumps({"code": "id_conflict", "status": 422})
            return 200, known[1].replace(b'"evaluation_status":"new"', b'"evaluation_status":"duplicate"', 1)
        answer = self.answer(tx, occurred_at, began)
        if len(self.ledger) >= LEDGER_LEN_MAX:
            del self.ledger[next(iter(self.ledger))]
        self.ledger[transaction_id] = (body, answer)
        return 200, answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--bundle", type=pathlib.Path, help="a bundle's folder; the newest active one without it")
    parser.add_argument("--model", type=pathlib.Path, help="an ONNX file instead of a bundle")
    args = parser.parse_args()
    scorer = Scorer(*load(args.bundle, args.model))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    # Plain async functions over bytes: a thread pool or response models would only cost.
    @app.post("/v1/decisions")
    async def decide(request: Request):
        status, answer = scorer.decide(await request.body())
        return Response(answer, status, media_type="application/json")

    @app.get("/readyz")
    async def ready():
        return Response(b'{"ready":true}', media_type="application/json")

    # State only grows and holds no cycles: searching it for garbage again and again would cost more than it frees.
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
    uvicorn.run(app, host="127.0.0.1", port=args.port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
