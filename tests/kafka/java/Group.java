// Looks at a cluster and changes it, through Apache's own admin client: one JSON request a line, one JSON answer a line.
//
//   {"do":"committed","group":"g"}              {"topic/0":[offset,"metadata"],..}
//   {"do":"members","group":"g"}                {"state":"..","coordinator":1,"members":[{"instance":"..","client":"..","partitions":["topic/0"]}]}
//   {"do":"ends","topics":[..]}                 {"topic/0":{"begin":0,"stable":5,"end":7},..}   stable: what read_committed may see
//   {"do":"transactions","topics":[..]}         {"open":[{"id":"..","state":"..","began":..}],"producers":[{"partition":"topic/0","since":offset}]}
//   {"do":"leaders","topics":[..]}              {"topic/0":1,..}
//   {"do":"transaction_coordinator","id":".."}  {"coordinator":1}
//   {"do":"create","topic":"t","partitions":3,"replicas":1,"settings":{..}}    {"do":"delete","topics":[..]}
//   {"do":"settings","topic":"t","settings":{..}}                              {"do":"truncate","topic":"t","partition":0,"before":17}
//   {"do":"grow","topic":"t","partitions":6}
//   {"do":"forget","group":"g"}                 deletes the group's offsets
// An error is {"error":".."}. Arguments: bootstrap servers, then settings as key=value. Ends with its input.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

public class Group {
    static final ObjectMapper JSON = new ObjectMapper();
    static Admin admin;

    static List<String> texts(JsonNode list) {
        List<String> found = new ArrayList<>();
        list.forEach(one -> found.add(one.asText()));
        return found;
    }

    static Map<String, String> settings(JsonNode ask) {
        Map<String, String> found = new HashMap<>();
        if (ask.has("settings")) ask.get("settings").fields().forEachRemaining(one -> found.put(one.getKey(), one.getValue().asText()));
        return found;
    }

    static Map<TopicPartition, Integer> leaders(JsonNode topics) throws Exception {
        Map<TopicPartition, Integer> found = new HashMap<>();
        for (var topic : admin.describeTopics(texts(topics)).allTopicNames().get().values()) {
            topic.partitions().forEach(one -> found.put(new TopicPartition(topic.name(), one.partition()), one.leader() == null ? -1 : one.leader().id()));
        }
        return found;
    }

    static ObjectNode committed(JsonNode ask) throws Exception {
        ObjectNode told = JSON.createObjectNode();
        admin.listConsumerGroupOffsets(ask.get("group").asText()).partitionsToOffsetAndMetadata().get().forEach((at, offset) -> {
            if (offset != null) told.putArray(at.toString().replaceFirst("-(\\d+)$", "/$1")).add(offset.offset()).add(offset.metadata());
        });
        return told;
    }

    static ObjectNode members(JsonNode ask) throws Exception {
        String name = ask.get("group").asText();
        var group = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
        ObjectNode told = JSON.createObjectNode().put("state", group.groupState().toString()).put("coordinator", group.coordinator().id());
        var members = told.putArray("members");
        group.members().forEach(member -> {
            var one = members.addObject().put("instance", member.groupInstanceId().orElse(null)).put("client", member.clientId());
            var partitions = one.putArray("partitions");
            member.assignment().topicPartitions().forEach(at -> partitions.add(at.topic() + "/" + at.partition()));
        });
        return told;
    }

    static ObjectNode ends(JsonNode ask) throws Exception {
        var all = leaders(ask.get("topics")).keySet();
        Map<TopicPartition, OffsetSpec> begin = new HashMap<>(), end = new HashMap<>();
        all.forEach(at -> begin.put(at, OffsetSpec.earliest()));
        all.forEach(at -> end.put(at, OffsetSpec.latest()));
        var begins = admin.listOffsets(begin).all().get();
        var stable = admin.listOffsets(end, new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).all().get();
        var ends = admin.listOffsets(end, new ListOffsetsOptions(IsolationLevel.READ_UNCOMMITTED)).all().get();
        ObjectNode told = JSON.createObjectNode();
        all.forEach(at -> told.putObject(at.topic() + "/" + at.partition())
            .put("begin", begins.get(at).offset()).put("stable", stable.get(at).offset()).put("end", ends.get(at).offset()));
        return told;
    }

    static ObjectNode transactions(JsonNode ask) throws Exception {
        ObjectNode told = JSON.createObjectNode();
        var open = told.putArray("open");
        for (var one : admin.listTransactions().all().get()) {
            String state = one.state().toString();
            if (state.startsWith("Complete") || state.equals("Empty") || state.equals("Dead")) continue;
            var found = admin.describeTransactions(List.of(one.transactionalId())).description(one.transactionalId()).get();
            open.addObject().put("id", one.transactionalId()).put("state", found.state().toString())
                .put("timeout_ms", found.transactionTimeoutMs()).put("began_ms", found.transactionStartTimeMs().orElse(-1));
        }
        var producers = told.putArray("producers");
        admin.describeProducers(leaders(ask.get("topics")).keySet()).all().get().forEach((at, state) -> state.activeProducers().forEach(one -> {
            if (one.currentTransactionStartOffset().isPresent()) {
                producers.addObject().put("partition", at.topic() + "/" + at.partition()).put("since", one.currentTransactionStartOffset().getAsLong());
            }
        }));
        return told.put("now_ms", System.currentTimeMillis());
    }

    static ObjectNode settle(JsonNode ask) throws Exception {
        String topic = ask.has("topic") ? ask.get("topic").asText() : "";
        switch (ask.get("do").asText()) {
            case "create" -> admin.createTopics(List.of(new NewTopic(topic, Optional.of(ask.get("partitions").asInt()), Optional.of((short) ask.get("replicas").asInt())).configs(settings(ask)))).all().get();
            case "grow" -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(ask.get("partitions").asInt()))).all().get();
            case "delete" -> admin.deleteTopics(texts(ask.get("topics"))).all().get();
            case "truncate" -> admin.deleteRecords(Map.of(new TopicPartition(topic, ask.get("partition").asInt()), RecordsToDelete.beforeOffset(ask.get("before").asLong()))).all().get();
            case "forget" -> admin.deleteConsumerGroups(List.of(ask.get("group").asText())).all().get();
            case "settings" -> {
                List<AlterConfigOp> changes = new ArrayList<>();
                settings(ask).forEach((name, value) -> changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
                admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), changes)).all().get();
            }
            default -> throw new IllegalArgumentException("no such request: " + ask);
        }
        return JSON.createObjectNode().put("done", true);
    }

    static ObjectNode answer(JsonNode ask) throws Exception {
        switch (ask.get("do").asText()) {
            case "committed": return committed(ask);
            case "members": return members(ask);
            case "ends": return ends(ask);
            case "transactions": return transactions(ask);
            case "leaders":
                ObjectNode told = JSON.createObjectNode();
                leaders(ask.get("topics")).forEach((at, leader) -> told.put(at.topic() + "/" + at.partition(), leader));
                return told;
            case "transaction_coordinator":
                String id = ask.get("id").asText();
                return JSON.createObjectNode().put("coordinator", admin.describeTransactions(List.of(id)).description(id).get().coordinatorId());
            default: return settle(ask);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("default.api.timeout.ms", "30000");
        settings.put("request.timeout.ms", "10000");
        settings.put("reconnect.backoff.max.ms", "500");
        for (String pair : Arrays.asList(arguments).subList(1, arguments.length)) settings.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
        admin = Admin.create(settings);
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (String text = in.readLine(); text != null; text = in.readLine()) {
            ObjectNode told;
            try {
                told = answer(JSON.readTree(text));
            } catch (Exception fault) {
                told = JSON.createObjectNode().put("error", String.valueOf(fault.getCause() == null ? fault : fault.getCause()));
            }
            System.out.println(told);
            System.out.flush();
        }
        admin.close();
    }
}
