// Reads topics to their end, as Apache's own consumer sees them: every request goes on where the last one ended.
//
//   {"topics":["a","b"],"isolation":"read_committed"}
//
// Out: {"t":"a","p":0,"o":17,"ts":1,"k":"key","v":"value","h":[["name","value"]]} for each record; kb and vb instead of
// k and v are bytes in base 64; a value above 256 KiB is given by its length and SHA-256 (vlen, vsha).
// Then {"end":{"a/0":18,..}}: the positions reached, those after the last record an isolation may see.
// Arguments: bootstrap servers. Ends with its input.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Reader {
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream OUT = new PrintStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 20), false, StandardCharsets.UTF_8);
    static final int VALUE_LEN_MAX = 256 << 10;
    static final Duration READ_WITHIN = Duration.ofSeconds(90);

    static String text(byte[] bytes) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        } catch (CharacterCodingException fault) {
            return null;
        }
    }

    static void put(ObjectNode line, String name, byte[] bytes) {
        if (bytes == null) return;
        String text = text(bytes);
        if (text != null) line.put(name, text);
        else line.put(name + "b", Base64.getEncoder().encodeToString(bytes));
    }

    static void say(ConsumerRecord<byte[], byte[]> record) throws Exception {
        ObjectNode line = JSON.createObjectNode();
        line.put("t", record.topic()).put("p", record.partition()).put("o", record.offset()).put("ts", record.timestamp());
        put(line, "k", record.key());
        if (record.value() != null && record.value().length > VALUE_LEN_MAX) {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(record.value());
            line.put("vlen", record.value().length).put("vsha", HexFormat.of().formatHex(hash));
        } else {
            put(line, "v", record.value());
        }
        var headers = line.putArray("h");
        record.headers().forEach(header -> {
            var pair = headers.addArray();
            pair.add(header.key());
            pair.add(header.value() == null ? null : new String(header.value(), StandardCharsets.UTF_8));
        });
        OUT.println(line);
    }

    final KafkaConsumer<byte[], byte[]> consumer;
    final Map<TopicPartition, Long> positions = new HashMap<>();

    Reader(String bootstrap, String isolation) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("isolation.level", isolation);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("fetch.max.wait.ms", "50");
        settings.put("max.partition.fetch.bytes", String.valueOf(16 << 20));
        settings.put("max.poll.records", "5000");
        settings.put("reconnect.backoff.max.ms", "500");
        var deserializer = new ByteArrayDeserializer();
        consumer = new KafkaConsumer<>(settings, deserializer, deserializer);
    }

    void read(JsonNode topics) throws Exception {
        List<TopicPartition> all = new ArrayList<>();
        for (JsonNode topic : topics) {
            consumer.partitionsFor(topic.asText(), READ_WITHIN).forEach(info -> all.add(new TopicPartition(info.topic(), info.partition())));
        }
        var ends = consumer.endOffsets(all, READ_WITHIN);
        var begins = consumer.beginningOffsets(all, READ_WITHIN);
        List<TopicPartition> open = new ArrayList<>(all);
        for (TopicPartition one : all) positions.merge(one, begins.get(one), Math::max);
        open.removeIf(one -> positions.get(one) >= ends.get(one));
        consumer.assign(open);
        for (TopicPartition one : open) consumer.seek(one, positions.get(one));
        long deadline = System.nanoTime() + READ_WITHIN.toNanos();
        while (!open.isEmpty()) {
            if (System.nanoTime() > deadline) throw new IllegalStateException("not at the end of " + open);
            for (var record : consumer.poll(Duration.ofMillis(100))) {
                var from = new TopicPartition(record.topic(), record.partition());
                // What came after we asked for the end belongs to the next request.
                if (record.offset() < ends.get(from)) say(record);
            }
            open.removeIf(one -> consumer.position(one) >= ends.get(one));
        }
        ObjectNode end = JSON.createObjectNode();
        for (TopicPartition one : all) {
            positions.merge(one, ends.get(one), Math::max);
            end.put(one.topic() + "/" + one.partition(), ends.get(one));
        }
        OUT.println(JSON.createObjectNode().set("end", end));
        OUT.flush();
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Reader> readers = new HashMap<>();
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String text = in.readLine(); text != null; text = in.readLine()) {
            JsonNode ask = JSON.readTree(text);
            try {
                readers.computeIfAbsent(ask.get("isolation").asText(), level -> new Reader(arguments[0], level)).read(ask.get("topics"));
            } catch (Exception fault) {
                OUT.println(JSON.createObjectNode().put("error", fault.toString()));
                OUT.flush();
            }
        }
    }
}
