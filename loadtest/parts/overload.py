"""Twice the capacity for a while, then half of it: what is decided by whom, what is refused, what comes back."""

import contextlib
import statistics
import time

import harness
from harness import say

from .run import Memory, grown, metrics, timeline, without_timeline

CONNECTIONS = 2048
# Accepted answers at twice the load below this share of capacity are a collapse.
COLLAPSE_SHARE = 0.5


def overload(run):
    """Three phases on one server: before, overload, after; the overload comes over connections of its own."""
    calm, storm = (5, 8) if run.quick else (10, 30)
    half, double = run.rate(0.5), run.rate(2.0)
    plan = (
        ("before", half, calm, run.connections),
        ("overload", double, storm, CONNECTIONS),
        ("after", half, max(10, storm // 2), run.connections),
    )
    shares = [int(rate * seconds * 1.02) + 1_000 for _, rate, seconds, _ in plan]
    run.bodies.at_least(sum(shares))
    with run.server() as server, Memory(server) as memory, contextlib.ExitStack() as stack:
        idle_mb = server.resident_mb()
        skips = [sum(shares[:place]) for place in range(len(plan))]
        # All are connected beforehand, so that one begins the moment the other ends.
        generators = [
            stack.enter_context(harness.Generator(server, run.bodies, rate, seconds, connections, skip))
            for (_, rate, seconds, connections), skip in zip(plan, skips)
        ]
        looks = [metrics(server)]
        for generator, (name, rate, seconds, connections) in zip(generators, plan):
            say(f"{name}: {rate}/s for {seconds} s over {connections} connections")
            began = generator.go()
            time.sleep(max(0, began + seconds - time.time()))
            looks.append(metrics(server))
        results = [generator.finish() for generator in generators]
    phases = [
        (name, result, describe(result, rate, before, after))
        for (name, rate, _, _), result, before, after in zip(plan, results, looks, looks[1:])
    ]
    origin = phases[0][1]["started_at"]
    spans = [(result["started_at"], result["started_at"] + result["seconds"]) for _, result, _ in phases]
    for (_, _, phase), span in zip(phases, spans):
        sizes = memory.between(*span)
        phase["memory_mb"] = {"max": max(sizes, default=None), "end": sizes[-1] if sizes else None}
    points = timeline([(name, result) for name, result, _ in phases], origin)
    found = {
        "capacity": run.capacity()["accepted_per_second"],
        "connections": CONNECTIONS,
        "durability": run.durability,
        "idle_mb": idle_mb,
        "phases": {name: phase for name, _, phase in phases},
        "recovery": recovery(points),
        "timeline": points,
        "memory": [(round(at - origin, 2), size) for at, size in memory.samples if size == size],
        "spans": [(name, start - origin, end - origin) for (name, _, _), (start, end) in zip(phases, spans)],
    }
    judge(run, found)
    return found


def describe(result, rate, before, after):
    decided = grown(before, after, "fraudd_decisions_total")
    by = {}
    for name, count in decided.items():
        source = name.split('source="')[1].split('"')[0]
        by[source] = by.get(source, 0) + count
    return {
        "offered_per_second": rate,
        "sent_per_second": result["sent"] / result["seconds"],
        "decided_by": by,
        "degraded_reasons": {label(name): count for name, count in grown(before, after, "fraudd_decisions_degraded_total").items()},
        "problems": {label(name): count for name, count in grown(before, after, "fraudd_http_problems_total").items()},
        "result": without_timeline(result),
    }


def label(name):
    return name.split('"')[1]


def recovery(points):
    """When the p99 of accepted answers is back, and what it is from the third second on."""
    calm = [point["p99_us"] for point in points if point["phase"] == "before" and point["p99_us"]][1:]
    after = [point for point in points if point["phase"] == "after"]
    if not calm or not after:
        return {"p99_before_us": None, "back_after_s": None, "p99_later_us": None}
    limit = 2 * statistics.median(calm) + 2_000
    back = next((point["second"] for point in after if point["p99_us"] is not None and point["p99_us"] <= limit), None)
    later = [point["p99_us"] for point in after if point["second"] >= 3 and point["p99_us"]]
    return {
        "p99_before_us": statistics.median(calm),
        "back_after_s": back,
        "p99_later_us": statistics.median(later) if later else None,
        "refused_later": sum(point["refused"] for point in after if point["second"] >= 3),
    }


def judge(run, found):
    result = found["phases"]["overload"]["result"]
    share = result["accepted_per_second"] / found["capacity"]
    found["accepted_share"] = share
    if share < COLLAPSE_SHARE:
        run.fault(f"overload: {share:.0%} of capacity accepted at twice the load: a collapse (below {COLLAPSE_SHARE:.0%})")
    if found["recovery"]["back_after_s"] is None:
        run.fault("overload: p99 did not come back to twice what it was before and 2 ms")
