#!/usr/bin/env python3
"""A stream peer: quixstreams, processing_guarantee="exactly-once", around the Python core.

    dataframe ─> decide (stateful) ─> scores, alerts, dead        checkpoint = transaction

Each event is put once into the framework's own store (RocksDB, with its changelog) under the record's key. The
histories beside it are shared by all partitions of the process and rebuilt from that store before the first record.
The framework hands over one record at a time, so inference is one row at a time.
"""

import argparse
import pathlib
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
warnings.filterwarnings("ignore", module="authlib")

import orjson
from quixstreams import Application
from quixstreams.state import DEFAULT_STATE_STORE_NAME

from stream_core import StreamScorer, headers, now_text


class Desk:
    """Decides records as the dataframe hands them over."""

    def __init__(self, source):
        self.core, self.source, self.app, self.stream_id = StreamScorer(), source.encode(), None, None

    def restore(self):
        """Replays every event of the store; the framework has brought it up to date by now."""
        store = self.app._state_manager.get_store(self.stream_id, DEFAULT_STATE_STORE_NAME)
        for partition in store.partitions.values():
            for _, value in partition.iter_items(b""):
                self.core.replay(orjson.loads(value))
        self.app = None

    def decide(self, body, state):
        if self.app is not None:
            self.restore()
        told = self.core.decide([body])[0]
        if isinstance(told, tuple):
            state.set(told[0], body.decode())
            return told
        # A duplicate leaves nothing.
        return None if told is None else (None, told, body)

    def headers(self, kind):
        return lambda told, _key, _timestamp, _headers: headers(kind, self.source, told[0], now_text())


def build(args):
    desk = Desk(f"urn:{args.group}")
    app = Application(
        broker_address=args.bootstrap,
        consumer_group=args.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=args.linger_ms / 1000,
        commit_every=args.rows_max,
        consumer_poll_timeout=args.linger_ms / 1000,
        state_dir=args.state_dir,
        loglevel="WARNING",
        consumer_extra_config={
            "group.instance.id": f"{args.group}-0",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 1_000,
            "fetch.wait.max.ms": 10,
            "fetch.queue.backoff.ms": 5,
            "check.crcs": True,
            "queued.min.messages": 5_000,
            "queued.max.messages.kbytes": 16_384,
        },
        producer_extra_config={
            "transaction.timeout.ms": 10_000,
            "message.timeout.ms": 8_000,
            "linger.ms": 0,
            "compression.type": "lz4",
            "batch.size": 1_000_000,
            "partitioner": "murmur2_random",
        },
    )
    raw = {"key_serializer": "bytes", "value_serializer": "bytes"}
    source = app.topic(args.input, key_deserializer="bytes", value_deserializer="bytes")
    scores, alerts, dead = (app.topic(name, **raw) for name in (args.scores, args.alerts, args.dead))
    told = app.dataframe(source).apply(desk.decide, stateful=True).filter(lambda told: told is not None)
    decided = told.filter(lambda told: told[0] is not None)
    decided.set_headers(desk.headers(b"fraudd.decision.v1")).apply(lambda told: told[2]).to_topic(scores)
    alarming = decided.filter(lambda told: told[1] != "approve")
    alarming.set_headers(desk.headers(b"fraudd.alert.v1")).apply(lambda told: told[2]).to_topic(alerts)
    refused = told.filter(lambda told: told[0] is None)
    refused = refused.set_headers(lambda told, *_: [("fraudd-dead-reason", b"invalid"), ("fraudd-dead-error", told[1].encode()[:500])])
    refused.apply(lambda told: told[2]).to_topic(dead)
    desk.app, desk.stream_id = app, told.stream_id
    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bootstrap", "group", "input", "scores", "alerts", "dead"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--rows-max", type=int, default=512)
    parser.add_argument("--linger-ms", type=float, default=5)
    build(parser.parse_args()).run()


if __name__ == "__main__":
    main()
