package peer;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Map;

/** A transaction as the contract has it; unknown fields are refused. What restores state is a compact form of it. */
public final class Transaction {
    public record Card(String token, String bin, String last4, String brand, String country, String funding) {}

    public record Merchant(String id, String mcc, String country, String terminalId) {}

    public record Counterparty(String id, String bank, String country) {}

    public record Device(String id, String ip, String fingerprint) {}

    public record Place(double lat, double lon) {}

    public record Address(String country) {}

    public record Authentication(@JsonProperty("three_ds") String threeDs, String cvc, String avs) {}

    public record Authorisation(String result) {}

    public String transactionId;
    public String occurredAt;
    public long amount = -1;
    public String currency;
    public String customerId;
    public String accountId;
    public String emailHash;
    public Card card;
    public Merchant merchant;
    public Counterparty counterparty;
    public String channel;
    public String type;
    public Device device;
    public Place location;
    public Address billing;
    public Address shipping;
    public Authentication authentication;
    public Authorisation authorisation;
    public Map<String, Object> attributes;

    /** Event time in microseconds since 1970. */
    public transient long time;

    private static final ObjectMapper MAPPER =
            new ObjectMapper()
                    .setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
                    .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
    private static final ObjectReader READER = MAPPER.readerFor(Transaction.class);

    /** Reads and checks one; an exception says what is wrong. */
    public static Transaction parse(byte[] body) throws IOException {
        Transaction tx = READER.readValue(body);
        if (isBad(tx.transactionId) || tx.occurredAt == null || tx.amount < 0 || !"EUR".equals(tx.currency)) {
            throw new IOException("transaction_id, occurred_at, amount and currency EUR are needed");
        }
        tx.time = micros(tx.occurredAt);
        return tx;
    }

    private static boolean isBad(String id) {
        if (id == null || id.isEmpty() || id.length() > 128) {
            return true;
        }
        return id.chars().anyMatch(Character::isWhitespace);
    }

    /** Microseconds since 1970 of an instant with an offset. */
    public static long micros(String text) {
        Instant at = text.endsWith("Z") ? Instant.parse(text) : OffsetDateTime.parse(text).toInstant();
        return at.getEpochSecond() * 1_000_000 + at.getNano() / 1_000;
    }

    public String terminal() {
        return merchant == null ? null : merchant.terminalId;
    }

    public boolean isFailed() {
        return authorisation != null && authorisation.result != null && !authorisation.result.equals("approved");
    }

    /** What features read of it, in few bytes. */
    public byte[] compact() {
        try {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(160);
            DataOutputStream out = new DataOutputStream(bytes);
            out.writeLong(time);
            out.writeLong(amount);
            out.writeBoolean(isFailed());
            out.writeUTF(transactionId);
            for (String text : texts()) {
                out.writeUTF(text == null ? "" : text);
            }
            out.writeBoolean(location != null);
            if (location != null) {
                out.writeDouble(location.lat);
                out.writeDouble(location.lon);
            }
            return bytes.toByteArray();
        } catch (IOException error) {
            throw new IllegalStateException("memory cannot fail", error);
        }
    }

    private String[] texts() {
        return new String[] {
            customerId,
            emailHash,
            card == null ? null : card.token,
            card == null ? null : card.bin,
            merchant == null ? null : merchant.id,
            merchant == null ? null : merchant.country,
            terminal(),
            device == null ? null : device.id,
        };
    }

    /** Reads the compact form back: enough for features, not for rules. */
    public static Transaction expand(byte[] compact) {
        try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(compact))) {
            Transaction tx = new Transaction();
            tx.time = in.readLong();
            tx.amount = in.readLong();
            tx.authorisation = new Authorisation(in.readBoolean() ? "declined" : "approved");
            tx.transactionId = in.readUTF();
            String[] texts = new String[8];
            for (int at = 0; at < texts.length; at++) {
                String text = in.readUTF();
                texts[at] = text.isEmpty() ? null : text;
            }
            tx.customerId = texts[0];
            tx.emailHash = texts[1];
            tx.card = new Card(texts[2], texts[3], null, null, null, null);
            tx.merchant = new Merchant(texts[4], null, texts[5], texts[6]);
            tx.device = new Device(texts[7], null, null);
            tx.location = in.readBoolean() ? new Place(in.readDouble(), in.readDouble()) : null;
            return tx;
        } catch (IOException error) {
            throw new IllegalStateException("a damaged event in the changelog", error);
        }
    }
}
