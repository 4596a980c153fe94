package peer;

import java.util.Arrays;

/** A growing column of longs, sorted or of running sums. */
final class Longs {
    private long[] values = new long[8];
    private int size;

    Longs() {}

    Longs(long first) {
        append(first);
    }

    int size() {
        return size;
    }

    long get(int at) {
        return values[at];
    }

    long last() {
        return values[size - 1];
    }

    void append(long value) {
        insert(size, value);
    }

    void insert(int place, long value) {
        if (size == values.length) {
            values = Arrays.copyOf(values, size * 2);
        }
        System.arraycopy(values, place, values, place + 1, size - place);
        values[place] = value;
        size++;
    }

    void set(int place, long value) {
        values[place] = value;
    }

    /** Inserts a sum after `place` and adds the step to all later ones. */
    void insertSum(int place, long step) {
        insert(place + 1, values[place]);
        addFrom(place + 1, step);
    }

    void addFrom(int from, long step) {
        for (int at = from; at < size; at++) {
            values[at] += step;
        }
    }

    void removeFirst(int count) {
        System.arraycopy(values, count, values, 0, size - count);
        size -= count;
    }

    /** The first place whose value is above `value`. */
    int after(long value, int from, int to) {
        while (from < to) {
            int middle = (from + to) >>> 1;
            if (values[middle] <= value) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        return from;
    }

    int after(long value) {
        return after(value, 0, size);
    }

    /** The first place whose value is not below `value`. */
    int from(long value) {
        return value == Long.MIN_VALUE ? 0 : after(value - 1, 0, size);
    }
}
