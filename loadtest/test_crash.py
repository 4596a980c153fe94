"""The crash check itself: does it see an answer that is lost, changed or doubled? Against a service that lies.

python3 -m unittest discover -s loadtest
"""

import http.server
import json
import pathlib
import tempfile
import threading
import types
import unittest

from parts import crash, overload
from parts.run import timeline

AT = "2026-01-02T03:04:05Z"


def decision(identity, score=0.25, status="duplicate"):
    body = {"transaction_id": identity, "outcome": "approve", "evaluated_at": AT, "evaluation_status": status}
    return body | ({"score": score} if score is not None else {})


class Service(http.server.BaseHTTPRequestHandler):
    """Answers the feed from `feed` and a batch from `kept`."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        after = int(self.path.partition("after=")[2] or 0)
        page = self.server.feed[after : after + crash.PAGE_LEN]
        self.reply({"decisions": [decision(identity) for identity in page], "next": after + len(page)})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["transactions"]
        self.reply({"results": [self.server.kept(transaction["transaction_id"]) for transaction in asked]})

    def reply(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Crash(unittest.TestCase):
    IDS = [f"t-{number}" for number in range(2_500)]

    def verify(self, kept=lambda identity: {"decision": decision(identity)}, feed=None, score="0.25"):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        server.kept, server.feed = kept, self.IDS if feed is None else feed
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                bodies = types.SimpleNamespace(path=folder / "bodies")
                bodies.path.write_text("".join(json.dumps({"transaction_id": identity}) + "\n" for identity in self.IDS))
                (folder / "record").write_text("".join(f"{identity}\tapprove\t{score}\t{AT}\n" for identity in self.IDS[:2_400]))
                run = types.SimpleNamespace(bodies=bodies, faults=[])
                run.fault = run.faults.append
                asked = types.SimpleNamespace(port=server.server_address[1])
                found = crash.verify(run, asked, [folder / "record"], len(self.IDS))
                crash.judge(run, found)
                return found, run.faults
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def check(self, expected, **told):
        found, faults = self.verify(**told)
        keys = ("lost", "changed", "missing_in_feed", "doubled")
        self.assertEqual({key: found[key] for key in keys}, dict.fromkeys(keys, 0) | expected)
        self.assertEqual(len(faults), len(expected), faults)

    def test_all_there(self):
        self.check({})
        found, _ = self.verify()
        self.assertEqual((found["answers"], found["in_feed"], found["kept_unanswered"]), (2_400, 2_500, 100))

    def test_an_absent_score_is_the_same_as_an_absent_score(self):
        self.check({}, kept=lambda identity: {"decision": decision(identity, None)}, score="-")

    def test_decided_anew_or_refused_is_lost(self):
        answers = {"t-7": {"decision": decision("t-7", status="new")}, "t-2000": {"problem": {"code": "internal"}}}
        self.check({"lost": 2}, kept=lambda identity: answers.get(identity, {"decision": decision(identity)}))

    def test_another_last_digit_is_changed(self):
        kept = lambda identity: {"decision": decision(identity, 0.2500000000000001 if identity == "t-7" else 0.25)}
        self.check({"changed": 1}, kept=kept)

    def test_the_feed_shows_what_is_missing_and_what_is_there_twice(self):
        self.check({"missing_in_feed": 1}, feed=self.IDS[1:])
        self.check({"doubled": 1}, feed=[*self.IDS, "t-3"])


class Overload(unittest.TestCase):
    def judge(self, accepted, back):
        run = types.SimpleNamespace(faults=[])
        run.fault = run.faults.append
        result = {"accepted_per_second": accepted}
        overload.judge(run, {"capacity": 100, "phases": {"overload": {"result": result}}, "recovery": {"back_after_s": back}})
        return len(run.faults)

    def test_a_collapse_and_a_latency_that_stays_are_faults(self):
        self.assertEqual([self.judge(50, 0), self.judge(49, 0), self.judge(90, None), self.judge(10, None)], [0, 1, 1, 2])

    def test_recovery_is_the_first_second_within_twice_the_calm(self):
        calm = [("before", {"p99_us": 1_000})] * 3
        after = [("after", {"p99_us": p99}) for p99 in (50_000, None, 4_001, 4_000, 900)]
        points = [point | {"phase": name, "second": second, "refused": 0} for run in (calm, after) for second, (name, point) in enumerate(run)]
        found = overload.recovery(points)
        self.assertEqual((found["p99_before_us"], found["back_after_s"], found["p99_later_us"]), (1_000, 3, 2_450))

    def test_a_time_line_joins_runs_and_leaves_the_drain_out(self):
        run = lambda start: {"started_at": start, "seconds": 2.0, "timeline": [{"second": second} for second in range(4)]}
        joined = timeline([("one", run(100.0)), ("two", run(102.5))], 100.0)
        self.assertEqual([(point["phase"], point["at"]) for point in joined], [("one", 0), ("one", 1), ("two", 2.5), ("two", 3.5)])


if __name__ == "__main__":
    unittest.main()
