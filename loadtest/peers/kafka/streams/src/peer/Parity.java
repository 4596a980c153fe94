package peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** Prints the features of a file of transactions, tab separated, for check_parity.py. */
public final class Parity {
    public static void main(String[] args) throws Exception {
        Features features = new Features();
        ObjectMapper mapper = new ObjectMapper();
        try (BufferedReader lines = Files.newBufferedReader(Path.of(args[1]))) {
            for (String line; (line = lines.readLine()) != null; ) {
                JsonNode label = mapper.readTree(line);
                String what = label.get("label").asText();
                boolean isFraud = what.equals("fraud") || what.equals("chargeback");
                features.label(label.get("transaction_id").asText(), isFraud, Transaction.micros(label.get("occurred_at").asText()));
            }
        }
        double[] values = new double[Features.NAMES.length];
        try (BufferedReader lines = Files.newBufferedReader(Path.of(args[0]));
                PrintStream out = new PrintStream(new BufferedOutputStream(System.out), false, StandardCharsets.UTF_8)) {
            out.println("transaction_id\t" + String.join("\t", Features.NAMES));
            for (String line; (line = lines.readLine()) != null; ) {
                Transaction tx = Transaction.parse(line.getBytes(StandardCharsets.UTF_8));
                features.observe(tx, values);
                StringBuilder row = new StringBuilder(tx.transactionId);
                for (double value : values) {
                    row.append('\t').append(value);
                }
                out.println(row);
            }
        }
    }
}
