package peer;

import ai.onnxruntime.OrtException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.IntStream;

/** One checked transaction in, one decision out, as loadtest/peers/scorer.py does it. */
final class Scorer {
    private static final int CONTRIBUTIONS_MAX = 4;
    private static final double CONTRIBUTION_MIN = 0.001;
    private static final int REASONS_MAX = 12;
    private static final double EXPLAIN_SHARE = 0.1;
    private static final JsonFactory JSON = new JsonFactory();

    /** A decision and what a stream needs of it. */
    record Decision(String id, String outcome, byte[] json, String evaluatedAt) {}

    private record Contribution(String feature, double amount) {}

    private record Verdict(String outcome, boolean isModels, double risk, Rules.Rule decisive) {}

    final Features features = new Features();
    private final Model model;
    private final String thresholds;
    private final String rulesVersion;
    private final double[] values = new double[Features.NAMES.length];
    private final MessageDigest digest;
    private final HexFormat hex = HexFormat.of();
    private double explainSeconds = EXPLAIN_SHARE;
    private double rowSeconds = 10e-6;
    private long filledAt = System.nanoTime();

    Scorer(Path bundle, Path rules) throws Exception {
        model = new Model(bundle);
        List<String> limits = new ArrayList<>();
        model.thresholds.forEach((name, limit) -> limits.add("\"" + name + "\":" + limit));
        thresholds = "{" + String.join(",", limits) + "}";
        rulesVersion = Model.sha256(Files.readAllBytes(rules)).substring(0, 16);
        digest = MessageDigest.getInstance("SHA-256");
    }

    /** Counts a transaction that was decided before. */
    void replay(Transaction tx) {
        if (!features.knows(tx.transactionId)) {
            features.observe(tx, values);
        }
    }

    Decision decide(Transaction tx) throws OrtException, IOException {
        long began = System.nanoTime();
        features.observe(tx, values);
        long extracted = System.nanoTime();
        float[] row = model.row(values);
        double score = model.score(row, 1)[0];
        long scored = System.nanoTime();
        List<Rules.Rule> hits = new ArrayList<>(4);
        boolean[] isHit = new boolean[Rules.RULES.length];
        for (int at = 0; at < isHit.length; at++) {
            Rules.Rule rule = Rules.RULES[at];
            isHit[at] = rule.condition().holds(values, tx, score) && !rule.isShadow();
            if (isHit[at]) {
                hits.add(rule);
            }
        }
        Verdict verdict = verdict(score, hits);
        long ruled = System.nanoTime();
        List<Contribution> contributions = List.of();
        boolean isOmitted = false;
        if (!verdict.outcome.equals("approve")) {
            List<Contribution> found = contributions(row, score);
            isOmitted = found == null;
            contributions = found == null ? List.of() : found;
        }
        String id = "dec_" + hex.formatHex(digest.digest(tx.transactionId.getBytes(java.nio.charset.StandardCharsets.UTF_8)), 0, 16);
        String now = Instant.now().toString();
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(3 << 10);
        try (JsonGenerator out = JSON.createGenerator(bytes)) {
            out.writeStartObject();
            out.writeStringField("decision_id", id);
            out.writeStringField("transaction_id", tx.transactionId);
            out.writeStringField("outcome", verdict.outcome);
            out.writeNumberField("score", score);
            out.writeNumberField("risk_score", Math.round(verdict.risk * 1000));
            raw(out, "thresholds", thresholds);
            reasons(out, score, verdict, hits, contributions);
            if (isOmitted) {
                out.writeStringField("explanation_omitted", "budget");
            }
            out.writeArrayFieldStart("rules");
            for (int at = 0; at < isHit.length; at++) {
                if (!Rules.RULES[at].isShadow()) {
                    out.writeRawValue(isHit[at] ? Rules.HIT[at] : Rules.NO_HIT[at]);
                }
            }
            out.writeEndArray();
            raw(out, "model", model.facts);
            out.writeStringField("rules_version", rulesVersion);
            out.writeStringField("policy_version", "2026-01");
            out.writeStringField("schema_hash", model.schemaHash);
            out.writeStringField("rates_version", "none");
            out.writeStringField("decision_source", verdict.isModels ? "model" : "rules");
            out.writeBooleanField("degraded", false);
            out.writeArrayFieldStart("degraded_reasons");
            out.writeEndArray();
            out.writeStringField("evaluation_status", "new");
            out.writeObjectFieldStart("latency_us");
            out.writeNumberField("total", (System.nanoTime() - began) / 1000);
            out.writeNumberField("features", (extracted - began) / 1000);
            out.writeNumberField("rules", (ruled - scored) / 1000);
            out.writeNumberField("model", (scored - extracted) / 1000);
            out.writeEndObject();
            ThreadLocalRandom dice = ThreadLocalRandom.current();
            out.writeStringField("trace_id", hex.toHexDigits(dice.nextLong()) + hex.toHexDigits(dice.nextLong()));
            out.writeStringField("evaluated_at", now);
            out.writeEndObject();
        }
        return new Decision(id, verdict.outcome, bytes.toByteArray(), now);
    }

    private static void raw(JsonGenerator out, String name, String json) throws IOException {
        out.writeFieldName(name);
        out.writeRawValue(json);
    }

    /** A rule's outcome first, then score and weights together. */
    private Verdict verdict(double score, List<Rules.Rule> hits) {
        int points = hits.stream().mapToInt(Rules.Rule::weight).sum();
        double risk = points == 0 ? score : Math.min(Math.max(score + points / 1000.0, 0.0), 1.0);
        Rules.Rule strongest =
                hits.stream().filter(rule -> rule.asks() != null).max(Comparator.comparingInt(rule -> Rules.SEVERITY.indexOf(rule.asks()))).orElse(null);
        if (strongest != null) {
            return new Verdict(strongest.asks(), false, risk, strongest);
        }
        String outcome = model.outcome(risk);
        if (outcome.equals(model.outcome(score))) {
            return new Verdict(outcome, true, risk, null);
        }
        return new Verdict(outcome, false, risk, hits.stream().max(Comparator.comparingInt(Rules.Rule::weight)).orElse(null));
    }

    /** Contributions by putting one input at a time back to its baseline, within a CPU budget a second. */
    private List<Contribution> contributions(float[] row, double score) throws OrtException {
        long now = System.nanoTime();
        explainSeconds = Math.min(explainSeconds + (now - filledAt) / 1e9 * EXPLAIN_SHARE, EXPLAIN_SHARE);
        filledAt = now;
        int[] places = IntStream.range(0, row.length).filter(at -> row[at] != model.baseline[at]).toArray();
        if (places.length == 0 || explainSeconds < rowSeconds * places.length) {
            return null;
        }
        float[] rows = new float[places.length * row.length];
        for (int at = 0; at < places.length; at++) {
            System.arraycopy(row, 0, rows, at * row.length, row.length);
            rows[at * row.length + places[at]] = model.baseline[places[at]];
        }
        float[] without = model.scoreAll(rows, places.length);
        double took = (System.nanoTime() - now) / 1e9;
        explainSeconds -= took;
        rowSeconds += 0.1 * (took / places.length - rowSeconds);
        return IntStream.range(0, places.length)
                .mapToObj(at -> new Contribution(model.inputs[places[at]], score - without[at]))
                .filter(one -> Math.abs(one.amount) >= CONTRIBUTION_MIN)
                .sorted(Comparator.comparingDouble(one -> -Math.abs(one.amount)))
                .limit(CONTRIBUTIONS_MAX)
                .toList();
    }

    private void reasons(JsonGenerator out, double score, Verdict verdict, List<Rules.Rule> hits, List<Contribution> contributions) throws IOException {
        int left = REASONS_MAX;
        out.writeArrayFieldStart("reasons");
        if (verdict.decisive == null) {
            reason(out, "SCORE", "The score says " + verdict.outcome + ".", score, "model", true);
            left--;
        } else {
            rule(out, verdict.decisive, true);
            left--;
        }
        for (Rules.Rule rule : hits) {
            if (rule != verdict.decisive && left-- > 0) {
                rule(out, rule, false);
            }
        }
        for (Contribution one : contributions) {
            if (left-- > 0) {
                String[] text = model.texts.get(one.feature);
                reason(out, text[0], text[1], one.amount, "model", false);
            }
        }
        out.writeEndArray();
    }

    private static void rule(JsonGenerator out, Rules.Rule rule, boolean isDecisive) throws IOException {
        reason(out, rule.code(), rule.description(), rule.weight() == 0 ? Double.NaN : rule.weight() / 1000.0, "rule", isDecisive);
    }

    private static void reason(JsonGenerator out, String code, String description, double amount, String source, boolean isDecisive) throws IOException {
        out.writeStartObject();
        out.writeStringField("code", code);
        out.writeStringField("description", description);
        if (!Double.isNaN(amount)) {
            out.writeNumberField("contribution", amount);
        }
        out.writeStringField("source", source);
        out.writeBooleanField("decisive", isDecisive);
        out.writeEndObject();
    }
}
