"""What watching costs: processor time by thread under load, and the same load with healing switched off.

The healing thread's time is the kernel's own count in nanoseconds. What the path of a decision pays for handing it over (a relaxed
count and a `try_send`) has no thread of its own: it is within the difference of the other threads' time a decision, on less off,
which is as uncertain as the machine is restless; every round is told.
"""

import collections
import pathlib
import statistics
import tempfile

import harness
from harness import say

from .run import metrics

SHARE, RATE_UNSAMPLED = 0.7, 5_000
ROUNDS, ROUNDS_QUICK = 3, 1
SECONDS, SECONDS_QUICK = 15, 6
WARM_UP_S = 3
GOAL_SHARE = 0.03
LAYERS = ["--config", "config/detectors.toml"]


def cost(run):
    """Measures both rates with healing on and off, in turn."""
    seconds, rounds = (SECONDS_QUICK, ROUNDS_QUICK) if run.quick else (SECONDS, ROUNDS)
    say("cost: capacity, closed loop")
    run.bodies.at_least(run.bodies_wanted)
    with run.serve({}, LAYERS) as server, tempfile.TemporaryDirectory(prefix="heal-", dir=run.folder) as folder:
        first = run.first(pathlib.Path(folder), 60_000 * seconds)
        capacity = harness.load(server, first, 0, seconds, connections=64)["accepted_per_second"]
    found = {"capacity": capacity, "goal_share": GOAL_SHARE, "at": []}
    for rate in [int(SHARE * capacity), RATE_UNSAMPLED]:
        say(f"cost: {rate}/s, healing on and off, {rounds} round(s)")
        turns = {"on": [], "off": []}
        for number in range(rounds):
            # Whoever comes second finds a warmer machine: they take turns at that, too.
            for kind in ("on", "off") if number % 2 == 0 else ("off", "on"):
                turns[kind].append(turn(run, kind, rate, seconds))
        found["at"].append(summary(rate, turns))
    return found


def turn(run, kind, rate, seconds):
    with run.serve({"healing.enabled": "true" if kind == "on" else "false"}, LAYERS) as server:
        with harness.Generator(server, run.bodies, rate, WARM_UP_S, 64) as load:
            load.go()
            warm = load.finish()
        counted, before = metrics(server), threads(server.pid)
        with harness.Generator(server, run.bodies, rate, seconds, 64, warm["sent"]) as load:
            load.go()
            result = load.finish()
        after, now = threads(server.pid), metrics(server)
    spent = {name: (after[name] - before.get(name, 0)) / 1000 for name in after}
    looked = {name: now.get(f"fraudd_healer_{name}_total", 0) - counted.get(f"fraudd_healer_{name}_total", 0) for name in ("observed", "skipped", "dropped")}
    per = {name: us / result["answers"] for name, us in spent.items()}
    say(f"  {kind}: {sum(per.values()):.1f} µs a decision, healer {per.get('healer', 0.0):.2f}")
    return {"answers": result["answers"], "us": per, "p99_ms": result["p99_us"] / 1000, "failures": result["failures"], "late": result["late"]} | looked


def threads(pid):
    """Processor time in nanoseconds by the name of threads; numbers at the end of a name are left out."""
    found = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip().rstrip("0123456789-")
            found[name] += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return found


def summary(rate, turns):
    whole = {kind: [sum(one["us"].values()) for one in of] for kind, of in turns.items()}
    healer = [one["us"].get("healer", 0.0) for one in turns["on"]]
    others = {kind: statistics.median(total - one["us"].get("healer", 0.0) for total, one in zip(whole[kind], of)) for kind, of in turns.items()}
    names = sorted({name for of in turns.values() for one in of for name in one["us"]})
    by_thread = {name: {kind: statistics.median(one["us"].get(name, 0.0) for one in of) for kind, of in turns.items()} for name in names}
    return {
        "rate": rate,
        "us_a_decision": {kind: statistics.median(values) for kind, values in whole.items()},
        "us_of_each_round": whole,
        "healer_us": statistics.median(healer),
        "healer_us_an_observation": statistics.median(
            one["us"].get("healer", 0.0) * one["answers"] / max(1, one["observed"]) for one in turns["on"]
        ),
        "healer_share": statistics.median(us / total for us, total in zip(healer, whole["on"])),
        "others_on_less_off_us": others["on"] - others["off"],
        "p99_ms": {kind: statistics.median(one["p99_ms"] for one in of) for kind, of in turns.items()},
        "observed": sum(one["observed"] for one in turns["on"]),
        "skipped": sum(one["skipped"] for one in turns["on"]),
        "dropped": sum(one["dropped"] for one in turns["on"]),
        "us_by_thread": by_thread,
    }
