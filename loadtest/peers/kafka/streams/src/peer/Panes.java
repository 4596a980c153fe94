package peer;

/** Running sums by stretches of time, for entities too hot to keep every event. */
final class Panes {
    private static final int PANES_MAX = 512;

    private final long resolution;
    private final long window;
    private final Longs indexes = new Longs();
    private final Longs newest = new Longs();
    private final Longs counts = new Longs(0);
    private final Longs amounts = new Longs(0);
    long count;
    long amount;

    Panes(long resolution, long window) {
        this.resolution = resolution;
        this.window = window;
    }

    /** Reads count and amount of the window that ends at `time`; a pane with later events is left out. */
    void read(long time) {
        long last = Math.floorDiv(time, resolution);
        int end = indexes.from(last);
        if (end < indexes.size() && indexes.get(end) == last && newest.get(end) <= time) {
            end++;
        }
        int start = indexes.after(Math.floorDiv(time - window, resolution), 0, end);
        count = counts.get(end) - counts.get(start);
        amount = amounts.get(end) - amounts.get(start);
    }

    void insert(long time, long value) {
        long index = Math.floorDiv(time, resolution);
        int place = indexes.from(index);
        if (place == indexes.size()) {
            indexes.append(index);
            newest.append(time);
            counts.append(counts.last());
            amounts.append(amounts.last());
        } else if (indexes.get(place) != index) {
            indexes.insert(place, index);
            newest.insert(place, time);
            counts.insert(place, counts.get(place));
            amounts.insert(place, amounts.get(place));
        }
        if (newest.get(place) < time) {
            newest.set(place, time);
        }
        counts.addFrom(place + 1, 1);
        amounts.addFrom(place + 1, value);
        if (indexes.size() > PANES_MAX) {
            for (Longs column : new Longs[] {indexes, newest, counts, amounts}) {
                column.removeFirst(PANES_MAX / 2);
            }
        }
    }
}
