package peer;

import static peer.History.DAY;
import static peer.History.HOUR;
import static peer.History.MINUTE;
import static peer.History.SECOND;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;

/**
 * The features of models/schemas/card-fraud.toml in plain Java, as loadtest/peers/features.py has them in Python:
 * one history per entity, 101 values per transaction in the order of NAMES, NaN where there is nothing to compute from.
 * check_parity.py holds every value against `fraudd features`.
 */
public final class Features {
    private static final String[] WINDOWS = {"5m", "1h", "24h", "7d"};
    private static final String[] SINGLE = {
        "tx_amount", "tx_during_weekend", "tx_during_night",
        "customer_nb_tx_1d", "customer_avg_amount_1d", "customer_nb_tx_7d", "customer_avg_amount_7d",
        "customer_nb_tx_30d", "customer_avg_amount_30d", "customer_distinct_countries_24h",
        "customer_seconds_since_last", "customer_own_mean_7d", "customer_own_mean_30d", "customer_own_std_30d",
        "amount_over_customer_mean_7d", "amount_over_customer_mean_30d", "amount_zscore_customer_30d",
        "customer_device_count_30d", "customer_new_device", "customer_fraud_count_30d",
        "terminal_nb_tx_1d", "terminal_risk_1d", "terminal_nb_tx_7d", "terminal_risk_7d", "terminal_nb_tx_30d",
        "terminal_risk_30d", "terminal_last5_fraud_share",
        "card_distinct_merchants_24h", "card_seconds_since_last", "card_last_latitude", "card_last_longitude",
        "card_seconds_since_located", "card_geo_velocity_kmh",
        "device_distinct_cards_24h", "country_mismatch", "billing_shipping_mismatch",
        "amount", "hour", "is_weekend", "is_night", "is_ecommerce",
    };
    public static final String[] NAMES = names();
    private static final int CUSTOMER = 0;
    private static final int CARD = 12;
    private static final int BIN = 24;
    private static final int DEVICE = 36;
    private static final int EMAIL = 48;
    private static final int FIRST = 60;
    private static final int OF_CUSTOMER = FIRST + 3;
    private static final int OF_TERMINAL = FIRST + 20;
    private static final int OF_CARD = FIRST + 27;
    private static final int OF_REST = FIRST + 33;
    private static final long[][] BIN_WINDOWS = {
        {15 * SECOND, 5 * MINUTE}, {2 * MINUTE, HOUR}, {HOUR, DAY}, {6 * HOUR, 7 * DAY}
    };
    private static final double EARTH_RADIUS_KM = 6_371.0088;
    private static final double NAN = Double.NaN;

    private record Mark(long time, long knownAt, boolean isFraud) {}

    private record Event(long time, String customer, String terminal) {}

    private record Label(boolean isFraud, long knownAt) {}

    private static final class Customer extends History {
        final List<Mark> marks = new ArrayList<>(0);
    }

    private static final class Terminal {
        final Longs times = new Longs();
        final List<Mark> marks = new ArrayList<>(0);
    }

    private static final class Bin {
        final Panes[] all = panes();
        final Panes[] failed = panes();

        private static Panes[] panes() {
            Panes[] made = new Panes[BIN_WINDOWS.length];
            for (int at = 0; at < made.length; at++) {
                made[at] = new Panes(BIN_WINDOWS[at][0], BIN_WINDOWS[at][1]);
            }
            return made;
        }
    }

    private final HashMap<String, Customer> customers = new HashMap<>();
    private final HashMap<String, Terminal> terminals = new HashMap<>();
    private final HashMap<String, History> cards = new HashMap<>();
    private final HashMap<String, Bin> bins = new HashMap<>();
    private final HashMap<String, History> devices = new HashMap<>();
    private final HashMap<String, History> emails = new HashMap<>();
    private final HashMap<String, Event> events = new HashMap<>();
    private final HashMap<String, Label> pending = new HashMap<>();
    private final HashSet<String> distinct = new HashSet<>();

    private static String[] names() {
        List<String> names = new ArrayList<>();
        for (String entity : new String[] {"customer", "card", "bin", "device", "email"}) {
            for (String window : WINDOWS) {
                for (String what : new String[] {"_count_", "_amount_", "_failures_"}) {
                    names.add(entity + what + window);
                }
            }
        }
        names.addAll(List.of(SINGLE));
        return names.toArray(new String[0]);
    }

    public boolean knows(String transactionId) {
        return events.containsKey(transactionId);
    }

    /** Computes the features of a transaction into `out` and keeps it. */
    public void observe(Transaction tx, double[] out) {
        long time = tx.time;
        long amount = tx.amount;
        int failed = tx.isFailed() ? 1 : 0;
        double major = amount / 100.0;
        long hour = Math.floorMod(Math.floorDiv(time, HOUR), 24L);
        double weekend = Math.floorMod(Math.floorDiv(time, DAY) + 3, 7L) >= 5 ? 1.0 : 0.0;
        double night = hour <= 6 ? 1.0 : 0.0;
        String device = tx.device == null ? null : tx.device.id();
        String token = tx.card == null ? null : tx.card.token();
        String country = tx.merchant == null ? null : tx.merchant.country();
        out[FIRST] = major;
        out[FIRST + 1] = weekend;
        out[FIRST + 2] = night;
        customer(tx, out, failed, country, device);
        terminal(tx, out);
        card(tx, out, failed, token);
        bin(tx, out, failed);
        device(tx, out, failed, device, token);
        email(tx, out, failed);
        int at = OF_REST + 1;
        out[at++] = differ(tx.card == null ? null : tx.card.country(), country);
        out[at++] = differ(tx.billing == null ? null : tx.billing.country(), tx.shipping == null ? null : tx.shipping.country());
        out[at++] = major;
        out[at++] = hour;
        out[at++] = weekend;
        out[at++] = night;
        out[at] = tx.channel == null ? NAN : tx.channel.equals("ecommerce") ? 1.0 : 0.0;
        events.put(tx.transactionId, new Event(time, tx.customerId, tx.terminal()));
        if (!pending.isEmpty()) {
            Label label = pending.remove(tx.transactionId);
            if (label != null) {
                label(tx.transactionId, label.isFraud, label.knownAt);
            }
        }
    }

    private static void absent(double[] out, int from, int count) {
        for (int at = from; at < from + count; at++) {
            out[at] = NAN;
        }
    }

    private static double differ(String one, String other) {
        return one == null || other == null ? NAN : one.equals(other) ? 0.0 : 1.0;
    }

    private double distinct(List<String> column, int from, int to, String own) {
        distinct.clear();
        for (int at = from; at < to; at++) {
            distinct.add(column.get(at));
        }
        distinct.add(own);
        distinct.remove(null);
        return distinct.size();
    }

    private void customer(Transaction tx, double[] out, int failed, String country, String device) {
        if (tx.customerId == null) {
            absent(out, CUSTOMER, 12);
            absent(out, OF_CUSTOMER, 17);
            return;
        }
        long time = tx.time;
        long amount = tx.amount;
        double major = amount / 100.0;
        Customer own = customers.computeIfAbsent(tx.customerId, key -> new Customer());
        own.velocity(out, CUSTOMER, time, amount, failed);
        int end = own.end;
        int week = own.week;
        int day = own.day;
        Longs amounts = own.amounts;
        int month = own.times.after(time - 30 * DAY, 0, week);
        long count = end - month;
        long total = amounts.get(end) - amounts.get(month);
        long squares = own.squares.get(end) - own.squares.get(month);
        double weekMean = end > week ? (double) (amounts.get(end) - amounts.get(week)) / (end - week) / 100.0 : NAN;
        double mean = NAN;
        double std = NAN;
        if (count > 0) {
            mean = (double) total / count / 100.0;
            std = Math.sqrt((double) (count * squares - total * total) / (double) (count * count)) / 100.0;
        }
        double known = NAN;
        if (device != null) {
            int found = 0;
            for (int at = month; at < end; at++) {
                found += device.equals(own.devices.get(at)) ? 1 : 0;
            }
            known = found;
        }
        int frauds = 0;
        for (Mark mark : own.marks) {
            if (mark.isFraud && mark.knownAt <= time && time - 30 * DAY < mark.time && mark.time <= time) {
                frauds++;
            }
        }
        int at = OF_CUSTOMER;
        out[at++] = out[CUSTOMER + 6];
        out[at++] = (amounts.get(end) - amounts.get(day) + amount) / out[CUSTOMER + 6] / 100.0;
        out[at++] = out[CUSTOMER + 9];
        out[at++] = (amounts.get(end) - amounts.get(week) + amount) / out[CUSTOMER + 9] / 100.0;
        out[at++] = count + 1.0;
        out[at++] = (double) (total + amount) / (count + 1) / 100.0;
        out[at++] = distinct(own.words, day, end, country);
        out[at++] = count > 0 ? (time - own.times.get(end - 1)) / 1e6 : NAN;
        out[at++] = weekMean;
        out[at++] = mean;
        out[at++] = std;
        out[at++] = Double.isNaN(weekMean) ? NAN : weekMean > 0.0 ? major / weekMean : 1.0;
        out[at++] = Double.isNaN(mean) ? NAN : mean > 0.0 ? major / mean : 1.0;
        out[at++] = Double.isNaN(std) ? NAN : std > 0.0 ? (major - mean) / std : 0.0;
        out[at++] = known;
        out[at++] = Double.isNaN(known) ? NAN : known == 0.0 ? 1.0 : 0.0;
        out[at] = frauds;
        own.insert(time, amount, failed);
        own.squares.insertSum(end, amount * amount);
        own.words.add(end, country);
        own.devices.add(end, device);
        own.trim();
    }

    private void terminal(Transaction tx, double[] out) {
        String key = tx.terminal();
        if (key == null) {
            absent(out, OF_TERMINAL, 7);
            return;
        }
        long time = tx.time;
        Terminal own = terminals.computeIfAbsent(key, made -> new Terminal());
        long until = time - 7 * DAY;
        Longs times = own.times;
        int end = times.after(until);
        int month = times.after(until - 30 * DAY, 0, end);
        int week = times.after(until - 7 * DAY, month, end);
        int day = times.after(until - DAY, week, end);
        risk(own, out, OF_TERMINAL, time, DAY, end - day);
        risk(own, out, OF_TERMINAL + 2, time, 7 * DAY, end - week);
        risk(own, out, OF_TERMINAL + 4, time, 30 * DAY, end - month);
        int seen = 0;
        int frauds = 0;
        for (int at = own.marks.size() - 1; at >= 0 && seen < 5; at--) {
            Mark mark = own.marks.get(at);
            if (mark.knownAt <= time && time - 60 * DAY < mark.time && mark.time <= time) {
                seen++;
                frauds += mark.isFraud ? 1 : 0;
            }
        }
        out[OF_TERMINAL + 6] = seen > 0 ? (double) frauds / seen : NAN;
        times.insert(times.after(time), time);
        if (times.size() > 2 * History.EVENTS_MAX) {
            times.removeFirst(History.EVENTS_MAX);
        }
    }

    private static void risk(Terminal own, double[] out, int at, long time, long window, int count) {
        long until = time - 7 * DAY;
        int frauds = 0;
        for (Mark mark : own.marks) {
            if (mark.isFraud && mark.knownAt <= time && mark.time <= until && mark.time > until - window) {
                // Labels reach back sixty days, whatever the window.
                frauds += mark.time > time - 60 * DAY ? 1 : 0;
            }
        }
        out[at] = count;
        out[at + 1] = count > 0 ? (double) frauds / count : NAN;
    }

    private void card(Transaction tx, double[] out, int failed, String token) {
        if (token == null) {
            absent(out, CARD, 12);
            absent(out, OF_CARD, 6);
            return;
        }
        long time = tx.time;
        History own = cards.computeIfAbsent(token, key -> new History());
        own.velocity(out, CARD, time, tx.amount, failed);
        String merchant = tx.merchant == null ? null : tx.merchant.id();
        int end = own.end;
        out[OF_CARD] = distinct(own.words, own.day, end, merchant);
        boolean isRecent = end > 0 && own.times.get(end - 1) > time - 30 * DAY;
        out[OF_CARD + 1] = isRecent ? (time - own.times.get(end - 1)) / 1e6 : NAN;
        int place = end - 1;
        while (place >= own.week && own.places.get(place) == null) {
            place--;
        }
        absent(out, OF_CARD + 2, 4);
        double[] here = tx.location == null ? null : new double[] {tx.location.lat(), tx.location.lon()};
        if (place >= own.week) {
            double[] last = own.places.get(place);
            double since = (time - own.times.get(place)) / 1e6;
            out[OF_CARD + 2] = last[0];
            out[OF_CARD + 3] = last[1];
            out[OF_CARD + 4] = since;
            if (here != null) {
                out[OF_CARD + 5] = haversineKm(last, here) * 3600.0 / Math.max(since, 60.0);
            }
        }
        own.insert(time, tx.amount, failed);
        own.words.add(end, merchant);
        own.places.add(end, here);
        own.trim();
    }

    private void bin(Transaction tx, double[] out, int failed) {
        String key = tx.card == null ? null : tx.card.bin();
        if (key == null) {
            absent(out, BIN, 12);
            return;
        }
        Bin own = bins.computeIfAbsent(key, made -> new Bin());
        for (int at = 0; at < BIN_WINDOWS.length; at++) {
            Panes all = own.all[at];
            Panes refused = own.failed[at];
            all.read(tx.time);
            refused.read(tx.time);
            out[BIN + 3 * at] = all.count + 1.0;
            out[BIN + 3 * at + 1] = (all.amount + tx.amount) / 100.0;
            out[BIN + 3 * at + 2] = refused.count + failed;
            all.insert(tx.time, tx.amount);
            if (failed == 1) {
                refused.insert(tx.time, tx.amount);
            }
        }
    }

    private void device(Transaction tx, double[] out, int failed, String key, String token) {
        if (key == null) {
            absent(out, DEVICE, 12);
            out[OF_REST] = NAN;
            return;
        }
        History own = devices.computeIfAbsent(key, made -> new History());
        own.velocity(out, DEVICE, tx.time, tx.amount, failed);
        out[OF_REST] = distinct(own.words, own.day, own.end, token);
        own.insert(tx.time, tx.amount, failed);
        own.words.add(own.end, token);
        own.trim();
    }

    private void email(Transaction tx, double[] out, int failed) {
        if (tx.emailHash == null) {
            absent(out, EMAIL, 12);
            return;
        }
        History own = emails.computeIfAbsent(tx.emailHash, made -> new History());
        own.velocity(out, EMAIL, tx.time, tx.amount, failed);
        own.insert(tx.time, tx.amount, failed);
        own.trim();
    }

    /** Marks a transaction, known or yet to come, as fraud or not from `knownAt` on. */
    public void label(String transactionId, boolean isFraud, long knownAt) {
        Event event = events.get(transactionId);
        if (event == null) {
            pending.put(transactionId, new Label(isFraud, knownAt));
            return;
        }
        Mark mark = new Mark(event.time, knownAt, isFraud);
        if (event.customer != null) {
            insert(customers.get(event.customer).marks, mark);
        }
        if (event.terminal != null) {
            insert(terminals.get(event.terminal).marks, mark);
        }
    }

    private static void insert(List<Mark> marks, Mark mark) {
        int place = marks.size();
        while (place > 0 && marks.get(place - 1).time > mark.time) {
            place--;
        }
        marks.add(place, mark);
    }

    private static double haversineKm(double[] from, double[] to) {
        double fromLat = Math.toRadians(from[0]);
        double toLat = Math.toRadians(to[0]);
        double halfLat = Math.sin((toLat - fromLat) / 2.0);
        double halfLon = Math.sin(Math.toRadians(to[1] - from[1]) / 2.0);
        double chord = halfLat * halfLat + Math.cos(fromLat) * Math.cos(toLat) * halfLon * halfLon;
        return 2.0 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(Math.min(chord, 1.0)));
    }
}
