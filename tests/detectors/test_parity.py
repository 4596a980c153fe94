"""Parity with scipy: the golden figures that tests/detectors.rs holds ours against are what the scipy at hand computes.

Skipped, and said so, where there is no scipy: `make detectors-table` brings one. Then the chain is closed: scipy now == golden.json
(1e-12), golden.json == ours (1e-9, in Rust).
"""

import json
import pathlib
import unittest

try:
    import golden
except ImportError as error:
    golden, MISSING = None, error.name
else:
    MISSING = ""

TOLERANCE = 1e-12


class Parity(unittest.TestCase):
    @unittest.skipIf(golden is None, f"no {MISSING} here: make detectors-table")
    def test_the_golden_figures_are_those_of_this_scipy(self):
        kept = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())
        made = list(golden.cases())
        self.assertEqual([case["name"] for case in kept["cases"]], [case["name"] for case in made])
        for ours, theirs in zip(kept["cases"], made):
            self.assertEqual((ours["actual"], ours["expected"]), (theirs["actual"], theirs["expected"]), ours["name"])
            for figure in ("psi", "js", "ks", "w1"):
                self.assertAlmostEqual(ours[figure], theirs[figure], delta=TOLERANCE, msg=f"{ours['name']}: {figure}")


if __name__ == "__main__":
    unittest.main()
