package peer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.TaskId;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The Kafka Streams peer: exactly_once_v2, one stream thread, one processor.
 *
 * <p>A store in memory with a changelog holds each event once, in a compact form; the histories beside it, shared by all
 * partitions of the process, are rebuilt from it. A store on disk would change nothing: after a crash exactly_once_v2
 * discards it and reads the changelog.
 */
public final class Worker {
    private static final String STORE = "events";
    private static final int ROWS_MAX = 512;
    private static final byte[] JSON = bytes("application/json");
    private static final byte[] VERSION = bytes("1.0");
    private static final byte[] DECISION = bytes("fraudd.decision.v1");
    private static final byte[] ALERT = bytes("fraudd.alert.v1");
    private static final long FUTURE_MICROS_MAX = 300_000_000L;

    private Worker() {}

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** What the process decides with; one stream thread uses it. */
    private static final class Desk implements Processor<byte[], byte[], byte[], byte[]> {
        private final Scorer scorer;
        private final byte[] source;
        private final Set<TaskId> used;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<Bytes, byte[]> store;

        Desk(Scorer scorer, byte[] source, Set<TaskId> used) {
            this.scorer = scorer;
            this.source = source;
            this.used = used;
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> given) {
            context = given;
            store = given.getStateStore(STORE);
            if (used.contains(given.taskId())) {
                // Histories cannot be rolled back with the store: start over, from the changelog.
                System.err.println("task " + given.taskId() + " begins anew, so the process ends");
                Runtime.getRuntime().halt(3);
            }
            try (KeyValueIterator<Bytes, byte[]> all = store.all()) {
                all.forEachRemaining(entry -> scorer.replay(Transaction.expand(entry.value)));
            }
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            used.add(context.taskId());
            try {
                decide(record);
            } catch (ai.onnxruntime.OrtException error) {
                throw new IllegalStateException(error);
            }
        }

        private void decide(Record<byte[], byte[]> record) throws ai.onnxruntime.OrtException {
            Transaction tx;
            Scorer.Decision decision;
            try {
                tx = Transaction.parse(record.value());
                if (tx.time > System.currentTimeMillis() * 1000 + FUTURE_MICROS_MAX) {
                    throw new java.io.IOException("more than 5 minutes ahead");
                }
                if (scorer.features.knows(tx.transactionId)) {
                    return;
                }
                decision = scorer.decide(tx);
            } catch (java.io.IOException | java.time.DateTimeException error) {
                Headers headers = new RecordHeaders().add("fraudd-dead-reason", bytes("invalid"));
                context.forward(record.withHeaders(headers.add("fraudd-dead-error", bytes(String.valueOf(error.getMessage())))), "dead");
                return;
            }
            context.forward(new Record<>(record.key(), decision.json(), record.timestamp(), headers(DECISION, decision)), "scores");
            if (!decision.outcome().equals("approve")) {
                context.forward(new Record<>(record.key(), decision.json(), record.timestamp(), headers(ALERT, decision)), "alerts");
            }
            long offset = context.recordMetadata().orElseThrow().offset();
            store.put(Bytes.wrap(ByteBuffer.allocate(Long.BYTES).putLong(offset).array()), tx.compact());
        }

        private Headers headers(byte[] kind, Scorer.Decision decision) {
            return new RecordHeaders()
                    .add("ce_specversion", VERSION)
                    .add("ce_type", kind)
                    .add("ce_source", source)
                    .add("ce_id", bytes(decision.id()))
                    .add("ce_time", bytes(decision.evaluatedAt()))
                    .add("content-type", JSON);
        }
    }

    private static Topology topology(Map<String, String> given, Scorer scorer) {
        var bytes = Serdes.ByteArray();
        byte[] source = bytes("urn:" + given.get("group"));
        Set<TaskId> used = new HashSet<>();
        Topology topology = new Topology();
        topology.addSource("input", bytes.deserializer(), bytes.deserializer(), given.get("input"));
        topology.addProcessor("desk", () -> new Desk(scorer, source, used), "input");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(STORE), Serdes.Bytes(), Serdes.ByteArray())
                        .withCachingDisabled()
                        .withLoggingEnabled(Map.of()),
                "desk");
        for (String output : new String[] {"scores", "alerts", "dead"}) {
            topology.addSink(output, given.get(output), bytes.serializer(), bytes.serializer(), "desk");
        }
        return topology;
    }

    private static Properties settings(Map<String, String> given) {
        String linger = given.get("linger-ms");
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("group"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("bootstrap"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, linger);
        settings.put(StreamsConfig.POLL_MS_CONFIG, linger);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("state-dir"));
        settings.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), given.get("group") + "-0");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 10_000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 1_000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 10);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), given.getOrDefault("rows-max", "" + ROWS_MAX));
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), linger);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1_000_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 256L << 20);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 10_000);
        return settings;
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at + 1 < args.length; at += 2) {
            given.put(args[at].substring(2), args[at + 1]);
        }
        Scorer scorer = new Scorer(Path.of(given.get("bundle")), Path.of(given.get("rules")));
        KafkaStreams streams = new KafkaStreams(topology(given, scorer), settings(given));
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(2);
                    return null;
                });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
