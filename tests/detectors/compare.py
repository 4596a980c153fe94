"""Delays of other detectors, for docs/detectors.md: river's ADWIN, KSWIN and Page-Hinkley, "KS above .15", and KS at a matched rate.

    make detectors-table            both tables; ARGS=values or ARGS=bits for one of them

One stream alone (ours watches fifty at once), 2,000 values before the change; the median and 95th percentile of the delay over
RUNS streams, and false alarms in 100,000 values without a change. KS compares the last 1,000 values with a fixed reference of
10,000, every 25 values; "matched" raises its limit until none of 20 streams of 100,000 values alarms. A share is a stream of bits:
a null or none, an alert or none, a stopped transaction that was fraud or not.
"""

import sys

import numpy
from river import drift

RUNS = 40
BEFORE = 2_000
BOUND = 20_000
SEED = 1
WINDOW = 1_000
EVERY = 25


def normal(random, count):
    return random.normal(size=count)


def bits(share):
    return lambda random, count: (random.random(count) < share).astype(float)


class Ks:
    def __init__(self, limit, law=normal):
        self.limit = limit
        self.edges = numpy.sort(law(numpy.random.default_rng(7), 10_000))
        self.values = numpy.zeros(WINDOW)
        self.count = 0
        self.drift_detected = False

    def update(self, value):
        self.values[self.count % WINDOW] = value
        self.count += 1
        self.drift_detected = False
        if self.count >= WINDOW and self.count % EVERY == 0:
            self.drift_detected = self.distance() > self.limit

    def distance(self):
        # Both cumulated shares at every value of the window and just below it: right with ties, too.
        values = numpy.sort(self.values)
        below = [numpy.searchsorted(of, values, side="left") / len(of) for of in (self.edges, values)]
        up_to = [numpy.searchsorted(of, values, side="right") / len(of) for of in (self.edges, values)]
        return max(numpy.abs(below[0] - below[1]).max(), numpy.abs(up_to[0] - up_to[1]).max())


def matched_limit(law):
    highest = 0.0
    for run in range(20):
        ks = Ks(2.0, law)
        for value in law(numpy.random.default_rng(10_000 + run), 100_000):
            ks.update(value)
            if ks.count >= WINDOW and ks.count % 250 == 0:
                highest = max(highest, ks.distance())
    return highest


def delay(make, before, after, run, bound=BOUND):
    random = numpy.random.default_rng(SEED * 1_000 + run)
    detector = make(run)
    for value in before(random, BEFORE):
        detector.update(value)
    for count, value in enumerate(after(random, bound), 1):
        detector.update(value)
        if detector.drift_detected:
            return count
    return bound


def false_alarms(make, law, runs=5):
    found = 0
    for run in range(runs):
        detector = make(run)
        for value in law(numpy.random.default_rng(50_000 + run), 20_000):
            detector.update(value)
            found += detector.drift_detected
    return found


def detectors(law):
    limit = matched_limit(law)
    return {
        "ADWIN (defaults)": lambda run: drift.ADWIN(),
        "KSWIN (defaults)": lambda run: drift.KSWIN(seed=run),
        "Page-Hinkley (defaults)": lambda run: drift.PageHinkley(),
        "KS above .15, last 1,000": lambda run: Ks(0.15, law),
        f"KS above {limit:.3f}, matched": lambda run: Ks(limit, law),
    }


def cell(make, before, after, runs=RUNS, bound=BOUND):
    delays = sorted(delay(make, before, after, run, bound) for run in range(runs))
    middle, high = delays[len(delays) // 2], delays[int((len(delays) - 1) * 0.95)]
    missed = sum(found >= bound for found in delays)
    if missed == runs:
        return f"never within {bound:,}"
    return f"{middle:,} / {high:,}" + (f", {missed} of {runs} never" if missed else "")


def values():
    """Means and spreads of one normal feature."""
    changes = {
        "+0.25 sigma": lambda random, count: normal(random, count) + 0.25,
        "+0.5 sigma": lambda random, count: normal(random, count) + 0.5,
        "+1 sigma": lambda random, count: normal(random, count) + 1.0,
        "spread x 1.5": lambda random, count: normal(random, count) * 1.5,
    }
    print("| detector | false alarms in 100,000 | " + " | ".join(changes) + " |")
    print("|---" * (len(changes) + 2) + "|")
    for name, make in detectors(normal).items():
        cells = [cell(make, normal, after) for after in changes.values()]
        print(f"| {name} | {false_alarms(make, normal)} | " + " | ".join(cells) + " |", flush=True)


def shares():
    """Nulls, alert rate, precision: shares that change, a row a detector and a usual share."""
    print("| stream | detector | false alarms in 100,000 | to | | |\n|---|---|---|---|---|---|")
    for stream, usual, others in [
        ("nulls 1 %", 0.01, [0.05, 0.2, 1.0]),
        ("alert rate 0.5 %", 0.005, [0.02, 0.05, 0.0]),
        ("precision 40 %", 0.4, [0.2, 0.1]),
    ]:
        law = bits(usual)
        for name, make in detectors(law).items():
            # Half a millisecond a value: it gets a quarter of the streams, and 3,000 values to find something in.
            runs, bound, alarmed = (10, 3_000, 1) if name.startswith("KSWIN") else (RUNS, BOUND, 5)
            cells = [f"{share:.0%}: {cell(make, law, bits(share), runs, bound)}" for share in others]
            cells += [""] * (3 - len(cells))
            print(f"| {stream} | {name} | {false_alarms(make, law, alarmed) * 5 // alarmed} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["values", "bits"]
    if "values" in wanted:
        values()
        print()
    if "bits" in wanted:
        shares()
