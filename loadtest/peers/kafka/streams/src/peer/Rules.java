package peer;

import java.util.Arrays;
import java.util.List;
import java.util.Set;

/** The twenty rules of config/rules.toml, as loadtest/peers/rules.py has them: a missing feature never hits. */
final class Rules {
    /** What a rule reads: features, transaction, score. */
    interface Condition {
        boolean holds(double[] features, Transaction tx, double score);
    }

    /** A rule; `asks` is an outcome, "shadow", or nothing beside a weight. */
    record Rule(String id, int weight, String asks, String code, String description, Condition condition) {
        boolean isShadow() {
            return "shadow".equals(asks);
        }

        byte[] verdict(String outcome) {
            String tail = asks == null ? "" : ",\"asks_for\":\"" + asks + "\"";
            return text("{\"id\":\"" + id + "\",\"version\":1,\"outcome\":\"" + outcome + "\",\"weight\":" + weight + tail + "}");
        }

        private static byte[] text(String json) {
            return json.getBytes(java.nio.charset.StandardCharsets.UTF_8);
        }
    }

    static final List<String> SEVERITY = List.of("approve", "review", "challenge", "decline");
    private static final Set<String> REMOTE = Set.of("ecommerce", "moto");
    static final Rule[] RULES = rules();
    static final String[] NO_HIT = verdicts("no_hit");
    static final String[] HIT = verdicts("hit");

    private Rules() {}

    private static String[] verdicts(String outcome) {
        return Arrays.stream(RULES).map(rule -> new String(rule.verdict(outcome), java.nio.charset.StandardCharsets.UTF_8)).toArray(String[]::new);
    }

    private static int at(String name) {
        int found = Arrays.asList(Features.NAMES).indexOf(name);
        if (found < 0) {
            throw new IllegalStateException("no feature " + name);
        }
        return found;
    }

    private static boolean isRemote(Transaction tx) {
        return tx.channel != null && REMOTE.contains(tx.channel);
    }

    private static boolean isOneOf(String word, String one, String other) {
        return one.equals(word) || other.equals(word);
    }

    private static boolean differ(String one, String other) {
        return one != null && other != null && !one.equals(other);
    }

    private static Rule weight(String id, int weight, String code, String description, Condition condition) {
        return new Rule(id, weight, null, code, description, condition);
    }

    private static Rule asks(String id, String outcome, String code, String description, Condition condition) {
        return new Rule(id, 0, outcome, code, description, condition);
    }

    private static Rule[] rules() {
        int amount = at("amount");
        int count5m = at("card_count_5m");
        int failures1h = at("card_failures_1h");
        int amount24h = at("card_amount_24h");
        int count24h = at("card_count_24h");
        int count7d = at("card_count_7d");
        int deviceCards = at("device_distinct_cards_24h");
        int deviceCount = at("device_count_1h");
        int deviceFailures = at("device_failures_1h");
        int emailCount = at("email_count_1h");
        int binFailures = at("bin_failures_1h");
        int binCount = at("bin_count_1h");
        int zscore = at("amount_zscore_customer_30d");
        int overMean = at("amount_over_customer_mean_30d");
        int night = at("is_night");
        int velocity = at("card_geo_velocity_kmh");
        int newDevice = at("customer_new_device");
        int share = at("terminal_last5_fraud_share");
        int frauds = at("customer_fraud_count_30d");
        return new Rule[] {
            weight("card-velocity-5m", 250, "CARD_VELOCITY", "Five or more payments with this card within five minutes.",
                    (f, t, s) -> f[count5m] >= 5.0),
            weight("card-failures-1h", 300, "CARD_FAILURES", "Three or more refused payments with this card within an hour.",
                    (f, t, s) -> f[failures1h] >= 3.0),
            weight("card-spend-24h", 150, "CARD_SPEND", "Many payments and a high sum with this card within a day.",
                    (f, t, s) -> f[amount24h] >= 3000.0 && f[count24h] >= 10.0),
            weight("device-many-cards-24h", 300, "DEVICE_MANY_CARDS", "Four or more cards were used on this device within a day.",
                    (f, t, s) -> f[deviceCards] >= 4.0),
            weight("device-velocity-1h", 150, "DEVICE_VELOCITY", "Fifteen or more payments from this device within an hour.",
                    (f, t, s) -> f[deviceCount] >= 15.0),
            weight("email-velocity-1h", 120, "EMAIL_VELOCITY", "Eight or more payments under this e-mail address within an hour.",
                    (f, t, s) -> f[emailCount] >= 8.0),
            weight("bin-attack-1h", 250, "BIN_ATTACK", "More than half of the payments with cards of this BIN were refused within an hour.",
                    (f, t, s) -> f[binFailures] >= 20.0 && f[binFailures] > 0.5 * f[binCount]),
            asks("card-testing-small-amount", "decline", "CARD_TESTING",
                    "A small amount after several refused payments on the same device looks like card testing.",
                    (f, t, s) -> f[amount] < 5.0 && f[deviceFailures] >= 3.0 && isRemote(t)),
            weight("amount-high", 100, "AMOUNT_HIGH", "The amount is high.", (f, t, s) -> f[amount] >= 1000.0),
            weight("amount-unusual-for-customer", 200, "AMOUNT_UNUSUAL", "The amount is far above what this customer usually pays.",
                    (f, t, s) -> f[zscore] > 4.0 && f[overMean] > 3.0),
            weight("amount-high-at-night", 60, "AMOUNT_AT_NIGHT", "A high amount at night.",
                    (f, t, s) -> f[night] == 1.0 && f[amount] >= 500.0),
            weight("prepaid-amount-high", 100, "PREPAID_AMOUNT", "A high amount on a prepaid card.",
                    (f, t, s) -> f[amount] >= 300.0 && t.card != null && "prepaid".equals(t.card.funding())),
            weight("card-country-mismatch", 120, "COUNTRY_MISMATCH",
                    "The card was issued in another country than the merchant's, and the amount is not small.",
                    (f, t, s) -> f[amount] >= 200.0 && t.card != null && t.merchant != null && differ(t.card.country(), t.merchant.country())),
            weight("shipping-abroad", 80, "SHIPPING_ABROAD", "Goods are shipped to another country than the bill.",
                    (f, t, s) -> isRemote(t) && t.billing != null && t.shipping != null && differ(t.billing.country(), t.shipping.country())),
            weight("impossible-travel", 350, "IMPOSSIBLE_TRAVEL", "The card moved faster than an airliner since its last payment.",
                    (f, t, s) -> f[velocity] > 900.0),
            weight("new-device-unusual-amount", 200, "NEW_DEVICE", "The customer pays more than usual from a device not seen before.",
                    (f, t, s) -> f[newDevice] == 1.0 && f[overMean] > 2.0),
            weight("terminal-frauds", 400, "TERMINAL_FRAUD", "Most of the last known payments at this terminal were fraud.",
                    (f, t, s) -> f[share] >= 0.6),
            weight("customer-fraud-30d", 250, "CUSTOMER_FRAUD", "A payment of this customer was confirmed as fraud within 30 days.",
                    (f, t, s) -> f[frauds] >= 1.0),
            asks("authentication-failed", "review", "AUTHENTICATION_FAILED",
                    "The card holder did not pass 3-D Secure, or the card's check code was wrong.",
                    (f, t, s) -> t.authentication != null
                            && (isOneOf(t.authentication.threeDs(), "failed", "rejected") || isOneOf(t.authentication.cvc(), "failed", "no_match"))),
            asks("score-high-on-new-card", "shadow", "NEW_CARD_SCORE", "The model is not at ease and the card is new to us.",
                    (f, t, s) -> s >= 0.3 && f[count7d] <= 1.0 && f[amount] >= 100.0),
        };
    }
}
