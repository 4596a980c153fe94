// Writes records, one JSON line in each: Apache's own producer, so also its own partitioner (murmur2 of the key's bytes).
//
//   {"topic":"t","key":"k","value":"v","headers":{"a":"b"},"partition":0,"timestamp":1}    key, value, partition and timestamp may be absent
//   {"topic":"t","key_b64":"..","value_b64":".."}       bytes;   "value_size":N    a JSON text of N bytes
//   {"do":"flush"}                                      waits for every record so far
//
// Out: {"n":3,"partition":0,"offset":17} or {"n":3,"error":".."} for each record, n counts from 0; {"flushed":N} for a flush.
// Arguments: bootstrap servers, then producer settings as key=value. Ends with its input.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Feed {
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream OUT = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false, StandardCharsets.UTF_8);

    static synchronized void say(ObjectNode line) {
        OUT.println(line);
        OUT.flush();
    }

    static byte[] bytes(JsonNode line, String name) {
        if (line.hasNonNull(name)) return line.get(name).asText().getBytes(StandardCharsets.UTF_8);
        if (line.hasNonNull(name + "_b64")) return Base64.getDecoder().decode(line.get(name + "_b64").asText());
        if (!line.hasNonNull(name + "_size")) return null;
        byte[] text = new byte[line.get(name + "_size").asInt()];
        byte[] head = "{\"transaction_id\":\"".getBytes(StandardCharsets.UTF_8);
        Arrays.fill(text, (byte) 'x');
        System.arraycopy(head, 0, text, 0, head.length);
        text[text.length - 2] = '"';
        text[text.length - 1] = '}';
        return text;
    }

    static ProducerRecord<byte[], byte[]> record(JsonNode line) {
        Integer partition = line.hasNonNull("partition") ? line.get("partition").asInt() : null;
        Long timestamp = line.hasNonNull("timestamp") ? line.get("timestamp").asLong() : null;
        var record = new ProducerRecord<>(line.get("topic").asText(), partition, timestamp, bytes(line, "key"), bytes(line, "value"));
        if (line.hasNonNull("headers")) {
            line.get("headers").fields().forEachRemaining(
                header -> record.headers().add(header.getKey(), header.getValue().asText().getBytes(StandardCharsets.UTF_8)));
        }
        return record;
    }

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("acks", "all");
        settings.put("linger.ms", "2");
        settings.put("max.request.size", String.valueOf(16 << 20));
        settings.put("buffer.memory", String.valueOf(64 << 20));
        settings.put("max.block.ms", "120000");
        settings.put("reconnect.backoff.max.ms", "500");
        for (String pair : Arrays.asList(arguments).subList(1, arguments.length)) {
            settings.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
        }
        var serializer = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(settings, serializer, serializer)) {
            var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 20);
            long count = 0;
            for (String text = in.readLine(); text != null; text = in.readLine()) {
                JsonNode line = JSON.readTree(text);
                if (line.has("do")) {
                    producer.flush();
                    say(JSON.createObjectNode().put("flushed", count));
                    continue;
                }
                long number = count++;
                try {
                    producer.send(record(line), (at, fault) -> {
                        ObjectNode told = JSON.createObjectNode().put("n", number);
                        say(fault == null ? told.put("partition", at.partition()).put("offset", at.offset()) : told.put("error", fault.toString()));
                    });
                } catch (RuntimeException fault) {
                    say(JSON.createObjectNode().put("n", number).put("error", fault.toString()));
                }
            }
        }
    }
}
