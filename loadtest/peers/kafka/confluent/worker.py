#!/usr/bin/env python3
"""A stream peer: confluent-kafka's transactional loop around the Python core.

    consume a batch ─> decide it once ─> begin, produce, flush, offsets, commit ─> (abort: publish the same again)

Exactly once as the client's documentation has it: read_committed, offsets in the transaction, the group's metadata
taken when it begins. Settings of consumer and producer are those of the other workers. At the start
the state topic is read to its end.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream_core import StreamScorer, headers, now_text

CALL_SECONDS = 10
ABORTS_IN_A_ROW_MAX = 20


class Worker:
    def __init__(self, args):
        self.args, self.core = args, StreamScorer()
        self.source = f"urn:{args.group}".encode()
        self.restore()
        self.consumer = Consumer(consumer_settings(args) | {"group.id": args.group, "group.instance.id": f"{args.group}-0"})
        self.consumer.subscribe([args.input])
        self.producer = Producer(producer_settings(args))
        self.producer.init_transactions(CALL_SECONDS)

    def restore(self):
        """Replays the changelog to its end."""
        reader = Consumer(consumer_settings(self.args) | {"group.id": f"{self.args.group}-restore", "enable.partition.eof": True})
        partitions = reader.list_topics(self.args.state, CALL_SECONDS).topics[self.args.state].partitions
        left = set(partitions)
        reader.assign([TopicPartition(self.args.state, partition, OFFSET_BEGINNING) for partition in partitions])
        while left:
            for record in reader.consume(100, 1.0):
                if record.error() is None:
                    for body in record.value().split(b"\n"):
                        self.core.replay(body)
                elif record.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(record.partition())
                else:
                    raise KafkaException(record.error())
        reader.close()

    def run(self):
        linger, most = self.args.linger_ms / 1000, self.args.rows_max
        while True:
            batch = self.consumer.consume(1, 0.05)
            if not batch:
                continue
            batch += self.consumer.consume(most - 1, linger)
            records = [record for record in batch if record.error() is None]
            for record in batch:
                if record.error() is not None and record.error().code() != KafkaError._PARTITION_EOF:
                    print(f"consuming: {record.error()}", file=sys.stderr, flush=True)
            if records:
                told = self.core.decide([record.value() for record in records])
                self.publish(records, told)

    def publish(self, records, told):
        for _ in range(ABORTS_IN_A_ROW_MAX):
            try:
                return self.transaction(records, told)
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                print(f"aborting: {error}", file=sys.stderr, flush=True)
                self.producer.abort_transaction(CALL_SECONDS)
        raise SystemExit("too many aborts in a row")

    def transaction(self, records, told):
        args, produce = self.args, self.producer.produce
        group = self.consumer.consumer_group_metadata()
        self.producer.begin_transaction()
        now, ends, states = now_text(), {}, {}
        for record, entry in zip(records, told):
            partition, key = record.partition(), record.key()
            ends[partition] = record.offset() + 1
            if entry is None:
                continue
            if isinstance(entry, str):
                told_why = [("fraudd-dead-reason", b"invalid"), ("fraudd-dead-error", entry.encode()[:500])]
                produce(args.dead, record.value(), key, partition, headers=told_why)
                continue
            transaction_id, outcome, decision = entry
            produce(args.scores, decision, key, partition, headers=headers(b"fraudd.decision.v1", self.source, transaction_id, now))
            if outcome != "approve":
                produce(args.alerts, decision, key, partition, headers=headers(b"fraudd.alert.v1", self.source, transaction_id, now))
            states.setdefault(partition, []).append(record.value())
        for partition, bodies in states.items():
            produce(args.state, b"\n".join(bodies), ends[partition].to_bytes(8, "big"), partition)
        self.producer.flush(CALL_SECONDS)
        offsets = [TopicPartition(args.input, partition, end, metadata="v1") for partition, end in ends.items()]
        self.producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS)
        self.again(self.producer.commit_transaction)

    @staticmethod
    def again(call):
        """Makes the same call until it is through: that is the contract of a retriable error."""
        for _ in range(ABORTS_IN_A_ROW_MAX):
            try:
                return call(CALL_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
        raise SystemExit("the commit did not come through")


def consumer_settings(args):
    return {
        "bootstrap.servers": args.bootstrap,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 1_000,
        "max.poll.interval.ms": 60_000,
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 5,
        "check.crcs": True,
        "queued.min.messages": 5_000,
        "queued.max.messages.kbytes": 16_384,
    }


def producer_settings(args):
    return {
        "bootstrap.servers": args.bootstrap,
        "transactional.id": f"{args.group}-0",
        "transaction.timeout.ms": 10_000,
        "message.timeout.ms": 8_000,
        "linger.ms": 0,
        "compression.type": "lz4",
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 262_144,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bootstrap", "group", "input", "scores", "alerts", "dead", "state"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows-max", type=int, default=512)
    parser.add_argument("--linger-ms", type=float, default=5)
    Worker(parser.parse_args()).run()


if __name__ == "__main__":
    main()
