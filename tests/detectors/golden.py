"""Makes golden.json: distances of histograms as scipy computes them, for tests/detectors.rs.

    .deps/detectors/bin/python tests/detectors/golden.py > tests/detectors/golden.json

scipy's jensenshannon is the distance, the square root of the divergence; its wasserstein_distance takes the bins'
numbers as values and the shares as weights; PSI is the symmetric Kullback-Leibler divergence of shares with half a row
more in each bin. ks_2samp on the bins' numbers is the distance of the cumulated shares.
"""

import json
import sys

import numpy
import scipy
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, ks_2samp, wasserstein_distance

SEED = 20260


def smoothed(counts):
    return (counts + 0.5) / (counts.sum() + 0.5 * len(counts))


def case(name, actual, expected):
    bins = numpy.arange(len(actual))
    a, e = actual / actual.sum(), expected / expected.sum()
    rows = [numpy.repeat(bins, counts) for counts in (actual, expected)]
    return {
        "name": name,
        "actual": actual.tolist(),
        "expected": expected.tolist(),
        "psi": float(entropy(smoothed(actual), smoothed(expected)) + entropy(smoothed(expected), smoothed(actual))),
        "js": float(jensenshannon(a, e) ** 2),
        "ks": float(ks_2samp(*rows).statistic),
        "w1": float(wasserstein_distance(bins, bins, a, e)),
    }


def cases():
    random = numpy.random.default_rng(SEED)
    for bins in (2, 3, 8, 32, 36):
        for rows in (50, 1_000, 100_000):
            law = random.dirichlet(numpy.ones(bins))
            other = random.dirichlet(numpy.ones(bins) * 3)
            yield case(f"{bins} bins, {rows} rows, same law", *random.multinomial(rows, law, 2))
            yield case(f"{bins} bins, {rows} rows, other law", random.multinomial(rows, law), random.multinomial(rows, other))
    yield case("nothing in common", numpy.array([10, 0, 0, 0]), numpy.array([0, 0, 0, 10]))
    yield case("equal", numpy.array([5, 5, 5]), numpy.array([5, 5, 5]))


if __name__ == "__main__":
    json.dump({"scipy": scipy.__version__, "numpy": numpy.__version__, "seed": SEED, "cases": list(cases())}, sys.stdout, indent=1)
    sys.stdout.write("\n")
