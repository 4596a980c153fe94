"""A swap storm: two models take turns twice a second under load, beside the same load left alone, in one run.

The pair cannot be mixed unseen (`bundles.even`, `bundles.odd`): the last bit of a score tells which model gave it, limits and schema
differ, and one takes an input more, so that a row made for the other fails. Every answer is checked, not a sample.
"""

import http.client
import json
import pathlib
import statistics
import tempfile
import threading
import time

import harness
from harness import say

from . import bundles
from .heal_detection import spread

SWAPS_PER_SECOND = 2
# Stretches with swaps and without take turns, so that a slow minute of the machine meets both.
STRETCHES, STRETCH_S = 5, 20
STRETCHES_QUICK, STRETCH_QUICK_S = 2, 5
SHARE = 0.7
GOAL_RATIO, GOAL_GROWTH = 1.5, 0.10
WARM_UP_S, WARM_UP_QUICK_S = 20, 6
# State is full after the warm-up, or it would grow through the whole run with or without a swap and hide what one leaves behind.
BOUNDS = {"ledger.memory_max": "48MiB", "entities.memory_max": "64MiB"}


def storm(run):
    """Measures capacity, then swaps at 70 % of it."""
    stretches, seconds = (STRETCHES_QUICK, STRETCH_QUICK_S) if run.quick else (STRETCHES, STRETCH_S)
    with tempfile.TemporaryDirectory(prefix="heal-", dir=run.folder) as folder:
        folder = pathlib.Path(folder)
        models = folder / "models"
        places = {"models.active": bundles.even(models), "models.standby": bundles.odd(models)}
        with run.serve({"models.directory": models} | places | BOUNDS) as server:
            warm_up = WARM_UP_QUICK_S if run.quick else WARM_UP_S
            say("storm: capacity, closed loop, which fills the ledger too")
            run.bodies.at_least(run.bodies_wanted)
            full = harness.load(server, run.first(folder, 60_000 * warm_up), 0, warm_up, connections=64)
            rate, skip = int(SHARE * full["accepted_per_second"]), full["sent"]
            say(f"storm: {stretches} x 2 stretches of {seconds} s at {rate}/s")
            parts, swaps, tally = [], [], Tally(bundles.pair(models))
            for number in range(2 * stretches):
                parts.append(stretch(run, server, (rate, seconds, skip), folder / "answers.tsv", number % 2 == 1, swaps, tally))
                skip += parts[-1]["result"]["sent"]
            acts = [record for record in run.audit(server) if record["kind"] == "intent"]
        return told(rate, parts, swaps, tally, acts)


def stretch(run, server, pace, path, is_storm, swaps, tally):
    rate, seconds, skip = pace
    before = server.resident_mb()
    with harness.Generator(server, run.bodies, rate, seconds, 64, skip, path, whole=True) as load:
        driver = Driver(server, seconds) if is_storm else None
        load.go()
        if driver:
            driver.start()
        result = load.finish()
        if driver:
            driver.join()
            swaps.extend(driver.done)
    waits = tally.read(path, "swaps" if is_storm else "alone")
    path.unlink()
    result.pop("timeline", None)
    found = {"swaps": is_storm, "p99_ms": waits["p99"], "waits_ms": waits, "resident_before_mb": before, "resident_mb": server.resident_mb()}
    say(f"  {'swaps' if is_storm else 'alone'}: p50 {waits['p50']:.2f} ms, p99 {waits['p99']:.2f} ms, {found['resident_mb']:.0f} MB")
    return found | {"result": result}


class Driver(threading.Thread):
    """Puts the standby in force, twice a second, over the door that people use."""

    def __init__(self, server, seconds):
        super().__init__(daemon=True)
        self.server, self.count, self.done = server, int(seconds * SWAPS_PER_SECOND), []

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        begun = time.monotonic()
        for number in range(self.count):
            time.sleep(max(0.0, begun + number / SWAPS_PER_SECOND - time.monotonic()))
            asked = time.monotonic()
            connection.request("POST", f"/v1/models/{bundles.NAME}/rollback", b'{"reason":"storm"}', {"content-type": "application/json"})
            answer = connection.getresponse()
            told = json.loads(answer.read())
            active = told["fleet"]["active"]["model"]["version"] if answer.status == 200 else None
            self.done.append({"status": answer.status, "ms": (time.monotonic() - asked) * 1000, "active": active})
        connection.close()


class Tally:
    """What answers say of their release, and whether it is of one piece."""

    def __init__(self, releases):
        # By version: (sha256, schema hash, review limit, last bit of the score).
        self.releases = releases
        self.by = {"swaps": {}, "alone": {}}
        self.mixed, self.examples = 0, []
        self.degraded, self.model_errors = {"swaps": {}, "alone": {}}, 0

    def read(self, path, kind):
        waits = []
        with open(path) as lines:
            for line in lines:
                identity, _, score, _, version, sha256, schema, review, degraded, _, due, _ = line.rstrip("\n").split("\t")
                waits.append(int(due))
                self.by[kind][version] = self.by[kind].get(version, 0) + 1
                bit = None if score == "-" else bundles.tag(score)
                expected = self.releases.get(version)
                is_whole = expected is not None and (sha256, schema, float(review)) == expected[:3]
                if not is_whole or (score != "-" and bit != expected[3]):
                    self.mixed += 1
                    self.examples = (self.examples + [line.strip()])[:3]
                if degraded != "-":
                    for reason in degraded.split(","):
                        # The swap itself is a rollback, which every decision tells.
                        self.degraded[kind][reason] = self.degraded[kind].get(reason, 0) + (reason != "rolled_back")
                        self.model_errors += reason in ("model_error", "score_not_finite", "score_out_of_range")
        return {key: value / 1000 for key, value in spread(waits).items()}


def told(rate, parts, swaps, tally, acts):
    kinds = {"swaps": [p for p in parts if p["swaps"]], "alone": [p for p in parts if not p["swaps"]]}
    p99 = {kind: statistics.median(p["p99_ms"] for p in of) for kind, of in kinds.items()}
    p50 = {kind: statistics.median(p["waits_ms"]["p50"] for p in of) for kind, of in kinds.items()}
    growth = {kind: sum(p["resident_mb"] - p["resident_before_mb"] for p in of) for kind, of in kinds.items()}
    errors = 0
    for part in kinds["swaps"]:
        result = part["result"]
        errors += sum(count for status, count in result["statuses"].items() if status != "200")
        errors += sum(result["failures"].values()) + result["unreadable"]
    before, after = parts[0]["resident_mb"], parts[-1]["resident_mb"]
    clean = lambda reasons: {reason: count for reason, count in reasons.items() if count}
    return {
        "rate": rate,
        "seconds_each": sum(part["result"]["seconds"] for part in kinds["swaps"]),
        "swaps": sum(swap["status"] == 200 for swap in swaps),
        "swaps_refused": [swap for swap in swaps if swap["status"] != 200][:5],
        "swap_ms": spread([swap["ms"] for swap in swaps]),
        "answers": {kind: sum(of.values()) for kind, of in tally.by.items()},
        "answers_by_release": tally.by,
        "errors": errors,
        # Too slow a machine for the rate that it had a minute before: charged as waits in p99, and no fault of a swap.
        "not_in_time": {kind: sum(p["result"]["unanswered"] + p["result"]["late"] for p in of) for kind, of in kinds.items()},
        "model_errors": tally.model_errors,
        "mixed": tally.mixed,
        "mixed_examples": tally.examples,
        "degraded": {kind: clean(reasons) for kind, reasons in tally.degraded.items()},
        "p50_ms": p50,
        "p99_ms": p99,
        # Neighbours are compared, for minutes of a machine differ more than anything a swap does.
        "p99_ratio": statistics.median(with_swaps["p99_ms"] / alone["p99_ms"] for alone, with_swaps in zip(kinds["alone"], kinds["swaps"])),
        "p99_of_each_ms": {kind: [p["p99_ms"] for p in of] for kind, of in kinds.items()},
        "resident_before_mb": before,
        "resident_after_mb": after,
        "grown": after / before - 1,
        "grown_mb": growth,
        "healing_acted": [act["body"] for act in acts][:5],
        "goal_ratio": GOAL_RATIO,
        "goal_growth": GOAL_GROWTH,
    }
