"""Delays of other detectors, for docs/detectors.md: river's ADWIN, KSWIN and Page-Hinkley, "KS above .15", and KS at a matched rate.

    python -m venv peers && peers/bin/pip install river==0.26.1 scipy==1.17.1 numpy==2.4.6
    peers/bin/python tests/detectors/compare.py

One feature alone (ours watches fifty at once), normal, 2,000 values before the change; the median and 95th percentile of the
delay over RUNS streams, and false alarms in 100,000 values without a change. KS compares the last 1,000 values with a fixed
reference of 10,000, every 25 values; "matched" raises its limit until none of 20 streams of 100,000 values alarms.
"""

import numpy
from river import drift

RUNS = 40
BEFORE = 2_000
BOUND = 20_000
SEED = 1
WINDOW = 1_000
EVERY = 25


class Ks:
    def __init__(self, limit):
        self.limit = limit
        self.edges = numpy.sort(numpy.random.default_rng(7).normal(size=10_000))
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
        ranks = numpy.searchsorted(self.edges, numpy.sort(self.values), side="right") / len(self.edges)
        steps = numpy.arange(1, WINDOW + 1) / WINDOW
        return max(numpy.abs(ranks - steps).max(), numpy.abs(ranks - steps + 1 / WINDOW).max())


def matched_limit():
    highest = 0.0
    for run in range(20):
        ks = Ks(2.0)
        values = numpy.random.default_rng(10_000 + run).normal(size=100_000)
        for value in values:
            ks.update(value)
            if ks.count >= WINDOW and ks.count % 250 == 0:
                highest = max(highest, ks.distance())
    return highest


def delay(make, change, run):
    random = numpy.random.default_rng(SEED * 1_000 + run)
    detector = make(run)
    for value in random.normal(size=BEFORE):
        detector.update(value)
    for count, value in enumerate(change(random.normal(size=BOUND)), 1):
        detector.update(value)
        if detector.drift_detected:
            return count
    return BOUND


def false_alarms(make):
    found = 0
    for run in range(5):
        detector = make(run)
        for value in numpy.random.default_rng(50_000 + run).normal(size=20_000):
            detector.update(value)
            found += detector.drift_detected
    return found


def main():
    limit = matched_limit()
    detectors = {
        "ADWIN (defaults)": lambda run: drift.ADWIN(),
        "KSWIN (defaults)": lambda run: drift.KSWIN(seed=run),
        "Page-Hinkley (defaults)": lambda run: drift.PageHinkley(),
        "KS above .15, last 1,000": lambda run: Ks(0.15),
        f"KS above {limit:.3f} (no false alarm in 2,000,000)": lambda run: Ks(limit),
    }
    changes = {
        "+0.25 sigma": lambda values: values + 0.25,
        "+0.5 sigma": lambda values: values + 0.5,
        "+1 sigma": lambda values: values + 1.0,
        "spread x 1.5": lambda values: values * 1.5,
    }
    print("| detector | false alarms in 100,000 | " + " | ".join(changes) + " |")
    print("|---" * (len(changes) + 2) + "|")
    for name, make in detectors.items():
        cells = []
        for change in changes.values():
            delays = sorted(delay(make, change, run) for run in range(RUNS))
            middle, high = delays[len(delays) // 2], delays[int((len(delays) - 1) * 0.95)]
            missed = sum(found >= BOUND for found in delays)
            cells.append(f"{middle} / {high}" + (f" ({missed} never)" if missed else ""))
        print(f"| {name} | {false_alarms(make)} | " + " | ".join(cells) + " |", flush=True)


main()
