package peer;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A bundle: one ONNX Runtime session of one thread that does not spin, inputs, thresholds, baseline, texts. */
final class Model {
    private static final int ROWS_MAX = 64;
    private static final Pattern QUOTED = Pattern.compile("\"([^\"]*)\"");

    final String[] inputs;
    final int[] places;
    final double[] missing;
    final float[] baseline;
    final Map<String, Double> thresholds = new HashMap<>();
    final Map<String, String[]> texts = new HashMap<>();
    final String facts;
    final String schemaHash;

    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final String input;
    private final Set<String> output;
    private final FloatBuffer rows;

    Model(Path bundle) throws IOException, OrtException {
        String manifest = Files.readString(bundle.resolve("manifest.toml"));
        inputs = quoted(line(manifest, "inputs"));
        List<String> names = Arrays.asList(Features.NAMES);
        places = Arrays.stream(inputs).mapToInt(names::indexOf).toArray();
        String absent = section(manifest, "missing");
        missing = Arrays.stream(inputs).mapToDouble(name -> number(absent, name, 0.0)).toArray();
        for (String outcome : Rules.SEVERITY) {
            double limit = number(section(manifest, "thresholds"), outcome, Double.NaN);
            if (!Double.isNaN(limit)) {
                thresholds.put(outcome, limit);
            }
        }
        baseline = baseline(bundle.resolve("baseline.json"));
        texts(Files.readString(bundle.resolve("features.toml")));
        byte[] bytes = Files.readAllBytes(bundle.resolve("model.onnx"));
        schemaHash = sha256(Files.readAllBytes(bundle.resolve("features.toml")));
        facts = "{\"name\":\"" + quoted(line(manifest, "name"))[0] + "\",\"version\":\"" + quoted(line(manifest, "version"))[0]
                + "\",\"sha256\":\"" + sha256(bytes) + "\",\"role\":\"active\"}";
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(1);
            options.setInterOpNumThreads(1);
            options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL);
            options.addConfigEntry("session.intra_op.allow_spinning", "0");
            session = environment.createSession(bytes, options);
        }
        input = session.getInputNames().iterator().next();
        List<String> outputs = new ArrayList<>(session.getOutputNames());
        output = Set.of(outputs.get(outputs.size() - 1));
        rows = ByteBuffer.allocateDirect(ROWS_MAX * inputs.length * Float.BYTES).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    /** The model's row of a transaction's features. */
    float[] row(double[] features) {
        float[] row = new float[places.length];
        for (int at = 0; at < row.length; at++) {
            double value = features[places[at]];
            row[at] = (float) (Double.isNaN(value) ? missing[at] : value);
        }
        return row;
    }

    /** Probabilities of class 1 of `count` rows that lie one behind the other. */
    float[] score(float[] values, int count) throws OrtException {
        rows.clear();
        rows.put(values, 0, count * inputs.length).flip();
        try (OnnxTensor tensor = OnnxTensor.createTensor(environment, rows, new long[] {count, inputs.length});
                OrtSession.Result result = session.run(Map.of(input, tensor), output)) {
            FloatBuffer found = ((OnnxTensor) result.get(0)).getFloatBuffer();
            int width = found.remaining() / count;
            float[] scores = new float[count];
            for (int at = 0; at < count; at++) {
                scores[at] = found.get(at * width + width - 1);
            }
            return scores;
        }
    }

    /** Probabilities of any number of rows. */
    float[] scoreAll(float[] values, int count) throws OrtException {
        float[] scores = new float[count];
        for (int from = 0; from < count; from += ROWS_MAX) {
            int part = Math.min(ROWS_MAX, count - from);
            float[] some = Arrays.copyOfRange(values, from * inputs.length, (from + part) * inputs.length);
            System.arraycopy(score(some, part), 0, scores, from, part);
        }
        return scores;
    }

    String outcome(double risk) {
        for (String name : new String[] {"decline", "challenge", "review"}) {
            Double limit = thresholds.get(name);
            if (limit != null && risk >= limit) {
                return name;
            }
        }
        return "approve";
    }

    private float[] baseline(Path path) throws IOException {
        Map<String, Float> found = new HashMap<>();
        for (JsonNode feature : new ObjectMapper().readTree(path.toFile()).get("features")) {
            found.put(feature.get("name").asText(), (float) feature.get("baseline").asDouble());
        }
        float[] values = new float[inputs.length];
        for (int at = 0; at < values.length; at++) {
            values[at] = found.get(inputs[at]);
        }
        return values;
    }

    private void texts(String schema) {
        for (String block : schema.split("\\[\\[feature]]")) {
            if (block.contains("\ncode = ")) {
                texts.put(quoted(line(block, "name"))[0], new String[] {quoted(line(block, "code"))[0], quoted(line(block, "description"))[0]});
            }
        }
    }

    private static String line(String text, String key) {
        Matcher found = Pattern.compile("(?m)^" + key + " = (.*)$").matcher(text);
        if (!found.find()) {
            throw new IllegalStateException("no " + key + " in the bundle");
        }
        return found.group(1);
    }

    private static String section(String text, String name) {
        int from = text.indexOf("[" + name + "]");
        int to = from < 0 ? -1 : text.indexOf("\n[", from);
        return from < 0 ? "" : text.substring(from, to < 0 ? text.length() : to);
    }

    private static double number(String section, String key, double otherwise) {
        Matcher found = Pattern.compile("(?m)^" + key + " = ([-0-9.e+]+)").matcher(section);
        return found.find() ? Double.parseDouble(found.group(1)) : otherwise;
    }

    private static String[] quoted(String text) {
        return QUOTED.matcher(text).results().map(found -> found.group(1)).toArray(String[]::new);
    }

    static String sha256(byte[] bytes) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException("every Java has SHA-256", error);
        }
    }
}
