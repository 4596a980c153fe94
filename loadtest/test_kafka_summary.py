"""The Kafka benchmark's report from made-up data, without a broker."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "kafka"))

import measures
import summary


def drained(cpu, exactly_once=True):
    return {"cpu_s_per_100k": cpu, "rows_per_second": 1000.0, "exactly_once": exactly_once, "degraded": 1}


def data(**over):
    return {
        "machine": {"cpus": 2, "model": "m", "kernel": "k", "load_before": 0.1},
        "revision": "abc",
        "settings": {"transactions": 1000, "linger_ms": 5, "partitions": 4, "rounds": 2},
        "titles": {"copy": "copy", "fraudd": "fraudd", "confluent": "python", "streams": "java"},
        "notes": {"copy": "", "fraudd": "", "confluent": "", "streams": ""},
        "drain": {}, "latency": {}, "restore": {}, "failures": [],
    } | over  # fmt: skip


class Summary(unittest.TestCase):
    def test_ratios_and_goals_follow_from_the_mean_of_the_rounds(self):
        drain = {"copy": [drained(1.0)], "fraudd": [drained(3.0), drained(5.0)], "confluent": [drained(16.0)], "streams": [drained(12.0)]}
        text = summary.write(data(drain=drain))
        self.assertIn("| fraudd | 4.00 | 3.00, 5.00 | 4.00 | 1.00 |", text)
        self.assertIn("| CPU, times the copy loop's | <= 5.0 | 4.00 | reached |", text)
        self.assertIn("| the best Python peer's CPU, times fraudd's | >= 5.0 | 4.00 | **missed** |", text)
        self.assertIn("| Kafka Streams' CPU, times fraudd's | >= 2.0 | 3.00 | reached |", text)

    def test_a_lost_or_doubled_score_is_no_whole_run(self):
        self.assertTrue(summary.is_whole(data(drain={"copy": [drained(1.0)]})))
        self.assertFalse(summary.is_whole(data(drain={"copy": [drained(1.0, False)]})))
        for fault in ({"missing": 1, "doubled": 0}, {"missing": 0, "doubled": 1}):
            self.assertFalse(summary.is_whole(data(latency={"500": {"copy": [fault]}})))

    def test_what_did_not_come_off_is_told_and_goals_without_figures_are_not(self):
        text = summary.write(data(failures=[{"part": "drain", "worker": "quix", "what": "ended\nmore"}]))
        self.assertIn("- drain, quix: ended", text)
        self.assertNotIn("Against the goals", text)

    def test_decisions_are_compared_by_id(self):
        with tempfile.TemporaryDirectory() as folder:
            one, other = pathlib.Path(folder, "one"), pathlib.Path(folder, "other")
            one.write_text("a\treview\t0.5\t0\nb\tapprove\t0.1\t1\n")
            other.write_text("b\tapprove\t0.2\t1\na\treview\t0.5\t0\nc\tapprove\t0\t0\n")
            found = measures.compare(one, other)
        self.assertEqual(found, {"compared": 2, "same_outcome": 1.0, "same_score": 0.5})


if __name__ == "__main__":
    unittest.main()
