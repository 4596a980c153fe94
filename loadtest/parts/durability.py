"""What keeping the answers costs: memory, `process` and `disk` beside an echo, at one rate."""

from harness import echo, load, say

from .run import SEGMENT_SIZE, without_timeline
from .steps import median

LEVELS = ("memory", "process", "disk")
SHARE = 0.7
# Of its own capacity: beyond it a level is measured at 70 % of that instead.
SHARE_MAX = 0.9


def durability(run):
    """Capacity of each level, then rounds at 70 % of the capacity with `process`, interleaved."""
    if not run.has_store:
        say("  this binary has no store (`fraudd config show` knows no state.directory): not run")
        return {"skipped": "this binary has no store: `fraudd config show` knows no `state.directory`"}
    capacities = {level: run.capacity(level)["accepted_per_second"] for level in LEVELS}
    common = run.rate(SHARE, "process")
    rates = {level: common if common <= SHARE_MAX * most else int(SHARE * most) for level, most in capacities.items()}
    rounds = 1 if run.quick else 3
    found = {name: [] for name in ("echo", *LEVELS)}
    stores = {}
    for turn in range(rounds):
        with echo() as server:
            say(f"echo at {common}/s, round {turn + 1} of {rounds}")
            found["echo"].append(load(server, run.bodies, common, run.seconds, connections=run.connections))
        for level in LEVELS:
            say(f"{level} at {rates[level]}/s, round {turn + 1} of {rounds}")
            result, stores[level] = measure(run, level, rates[level])
            found[level].append(result)
    return {
        "rate": common,
        "rounds": rounds,
        "segment_size": SEGMENT_SIZE,
        "capacities": capacities,
        "rates": rates,
        "stores": stores,
        "results": {name: without_timeline(median(results)) for name, results in found.items()},
    }


def measure(run, level, rate):
    """One run; with a store also how many files it rolled through and how large they are."""
    if level == "memory":
        with run.server(level) as server:
            return run.load(server, rate), None
    with run.store() as store, run.target.serve(run.settings(level), store) as server:
        result = run.load(server, rate)
        sizes = [path.stat().st_size for path in store.rglob("*.seg")]
        return result, {"segments": len(sizes), "mb": sum(sizes) / 1e6}
