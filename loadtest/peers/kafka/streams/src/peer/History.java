package peer;

import java.util.ArrayList;

/** Events of one entity, oldest first, with sums of everything before each: a window is two searches and a subtraction. */
class History {
    static final long SECOND = 1_000_000L;
    static final long MINUTE = 60 * SECOND;
    static final long HOUR = 60 * MINUTE;
    static final long DAY = 24 * HOUR;
    static final int EVENTS_MAX = 4_096;

    final Longs times = new Longs();
    final Longs amounts = new Longs(0);
    final Longs failures = new Longs(0);
    /** Filled by kinds that need them. */
    final Longs squares = new Longs(0);

    final ArrayList<String> words = new ArrayList<>(0);
    final ArrayList<String> devices = new ArrayList<>(0);
    final ArrayList<double[]> places = new ArrayList<>(0);

    /** Where the last reading's windows begin and end. */
    int end;

    int day;
    int week;

    /** Writes count, amount and failures over 5 m, 1 h, 24 h and 7 d, the current event inside. */
    void velocity(double[] out, int base, long time, long amount, int failed) {
        end = times.size();
        if (end > 0 && times.last() > time) {
            end = times.after(time);
        }
        long total = amounts.get(end) + amount;
        long refused = failures.get(end) + failed;
        week = times.after(time - 7 * DAY, 0, end);
        day = times.after(time - DAY, week, end);
        int hour = times.after(time - HOUR, day, end);
        int recent = times.after(time - 5 * MINUTE, hour, end);
        window(out, base, recent, total, refused);
        window(out, base + 3, hour, total, refused);
        window(out, base + 6, day, total, refused);
        window(out, base + 9, week, total, refused);
    }

    private void window(double[] out, int at, int from, long total, long refused) {
        out[at] = end - from + 1.0;
        out[at + 1] = (total - amounts.get(from)) / 100.0;
        out[at + 2] = refused - failures.get(from);
    }

    /** Puts the current event where the last reading ended. */
    void insert(long time, long amount, int failed) {
        times.insert(end, time);
        amounts.insertSum(end, amount);
        failures.insertSum(end, failed);
    }

    /** Keeps what is newest; after all columns were written. */
    void trim() {
        if (times.size() <= 2 * EVENTS_MAX) {
            return;
        }
        times.removeFirst(EVENTS_MAX);
        amounts.removeFirst(EVENTS_MAX);
        failures.removeFirst(EVENTS_MAX);
        if (squares.size() > EVENTS_MAX) {
            squares.removeFirst(EVENTS_MAX);
        }
        for (ArrayList<?> column : new ArrayList<?>[] {words, devices, places}) {
            if (!column.isEmpty()) {
                column.subList(0, EVENTS_MAX).clear();
            }
        }
    }
}
