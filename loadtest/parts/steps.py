"""Latency, throughput and CPU at rising load, beside an echo at the same rates in the same minutes."""

from harness import echo, load, say

from .run import without_timeline

SHARES = (10, 30, 50, 70, 90)


def steps(run):
    """Capacity in a closed loop, then an open loop at shares of it; the median round by p99 of each."""
    capacity = run.capacity()
    with echo() as server:
        capacity_echo = load(server, run.bodies, 0, run.seconds, connections=run.connections)
    rounds = 1 if run.quick else 3
    found = {share: {"fraudd": [], "echo": []} for share in SHARES}
    # Round by round through all shares, so that a busy minute of the machine falls on one round of each.
    for turn in range(rounds):
        for share in SHARES:
            rate = run.rate(share / 100)
            say(f"{share} % of capacity, {rate}/s, round {turn + 1} of {rounds}")
            with echo() as server:
                found[share]["echo"].append(load(server, run.bodies, rate, run.seconds, connections=run.connections))
            with run.server() as server:
                found[share]["fraudd"].append(run.load(server, rate))
    return {
        "connections": run.connections,
        "durability": run.durability,
        "rounds": rounds,
        "seconds": run.seconds,
        "capacity": {"fraudd": without_timeline(capacity), "echo": without_timeline(capacity_echo)},
        "steps": [
            {"share": share, "rate": run.rate(share / 100)}
            | {name: without_timeline(median(results)) for name, results in both.items()}
            for share, both in found.items()
        ],
    }


def median(results):
    return sorted(results, key=lambda result: result["p99_us"])[len(results) // 2]
