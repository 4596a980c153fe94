"""What `heal.py` concludes: a mixture is seen whichever part of a release it is in, delays are those of the record, ONNX files stay whole."""

import pathlib
import tempfile
import unittest

from parts import bundles, heal_detection, heal_storm

RELEASES = {"even": ("aa", "11", 0.25, 0), "odd": ("bb", "22", 0.26, 1)}
EVEN, ODD = repr(1_234 / bundles.GRID), repr(1_235 / bundles.GRID)


def answer(version="even", sha256="aa", schema="11", review="0.25", score=EVEN, degraded="-", due=100):
    return "\t".join(["t", "approve", score, "2026-01-01T00:00:00Z", version, sha256, schema, review, degraded, "50", str(due), "60"])


class Storm(unittest.TestCase):
    def read(self, *lines):
        tally = heal_storm.Tally(RELEASES)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "answers.tsv"
            path.write_text("".join(line + "\n" for line in lines))
            return tally, tally.read(path, "swaps")

    def test_answers_of_one_release_are_whole(self):
        other = answer("odd", "bb", "22", "0.26", ODD, "rolled_back", 300)
        tally, waits = self.read(answer(), other, answer(score="-", degraded="model_timeout"))
        self.assertEqual((tally.mixed, tally.model_errors), (0, 0))
        self.assertEqual(tally.by["swaps"], {"even": 2, "odd": 1})
        self.assertEqual((waits["p50"], waits["most"]), (0.1, 0.3))

    def test_a_mixture_is_seen_in_every_part(self):
        for mixed in [
            answer(score=ODD), answer(review="0.26"), answer(schema="22"), answer(sha256="bb"), answer("third"), answer("odd"), answer(score="0.3"),
        ]:  # fmt: skip
            self.assertEqual(self.read(answer(), mixed)[0].mixed, 1, mixed)

    def test_a_row_that_was_not_the_models_is_counted(self):
        self.assertEqual(self.read(answer(score="-", degraded="model_error"))[0].model_errors, 1)


class Detection(unittest.TestCase):
    RESULT = {"statuses": {"200": 6}, "failures": {}, "unanswered": 0, "late": 0}

    def judge(self, moves, failures=(1_000, 3_000, 12_000), result=None):
        call = lambda begun, degraded: {"begun": begun, "degraded": [degraded], "total": 40, "due": 90, "sent": 80}
        answers = {str(begun): call(begun, "score_not_finite") for begun in failures} | {"r": call(14_000, "breaker_open")}
        move = lambda at, before, to: {"at": f"1970-01-01T00:00:00.{at:06}Z", "from": before, "to": to, "cause": "hard_in_a_row"}
        return heal_detection.judge(result or self.RESULT, [[*map(str, failures), "r"]], answers, [move(*one) for one in moves])

    def test_the_delay_is_from_the_first_failed_call_to_the_open_breaker(self):
        found = self.judge([(9_500, "closed", "open")])
        self.assertEqual((found["measured"], found["missed"], found["delay_ms"]["p99"]), (1, 0, 8.5))
        self.assertEqual((found["failed_calls"]["most"], found["by_rules"], found["late_answers"]), (2, 1, 0))

    def test_a_fault_that_nobody_found_is_missed_and_one_behind_an_open_breaker_is_left_out(self):
        self.assertEqual(self.judge([])["missed"], 1)
        self.assertEqual(self.judge([(500, "closed", "open")])["not_closed_before"], 1)
        self.assertEqual(self.judge([(500, "closed", "open")], failures=())["not_closed_before"], 1)

    def test_requests_that_failed_are_counted_wherever_they_did(self):
        result = {"statuses": {"200": 5, "503": 2}, "failures": {"closed": 3}, "unanswered": 4, "late": 5}
        self.assertEqual(self.judge([(9_500, "closed", "open")], result=result)["requests_failed"], 14)


class Bundles(unittest.TestCase):
    MODEL = bundles.SHIPPED / bundles.VERSION / "model.onnx"

    def test_an_onnx_file_that_is_taken_apart_and_put_together_is_the_same(self):
        data = self.MODEL.read_bytes()
        self.assertEqual(bundles.message(list(bundles.fields(data))), data)

    def test_added_nodes_leave_the_model_as_it_is(self):
        graph = bundles.Graph(self.MODEL)
        trees = next(content for number, content in graph.graph if number == 1)
        graph.node("Gather", ["wide", "kept"], "X", axis=1, front=True)
        graph.node("Abs", ["probabilities"], "answer")
        made = next(content for number, content in bundles.fields(graph.bytes("answer")) if number == 7)
        nodes = [dict(bundles.fields(content)) for number, content in bundles.fields(made) if number == 1]
        self.assertEqual([node[4] for node in nodes], [b"Gather", b"TreeEnsembleClassifier", b"Abs"])
        self.assertIn((1, trees), list(bundles.fields(made)))

    def test_the_last_bit_of_a_score_tells_whose_it_is(self):
        self.assertEqual([bundles.tag(EVEN), bundles.tag(ODD), bundles.tag("0.3"), bundles.tag("1.0"), bundles.tag("0")], [0, 1, None, 0, 0])


if __name__ == "__main__":
    unittest.main()
