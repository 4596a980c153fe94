"""The report: tables in Markdown, from the data alone."""

import os
import pathlib
import platform
import statistics
import subprocess

from rig import PARTITIONS, ROOT

# The goals, as docs/benchmarks-kafka.md states them.
COPY_RATIO_MAX = 5.0
COPY_LATENCY_MAX = 1.5
PYTHON_RATIO_MIN = 5.0
STREAMS_RATIO_MIN = 2.0
RESTART_SECONDS_MAX = 1.0
# More than this share decided without the model is another, lighter work.
DEGRADED_MAX = 0.001
PYTHON = ("confluent", "quix", "quix-100ms")


def facts(args):
    """The machine, the tree and the settings of this run."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT)
    return {
        "machine": {"cpus": os.cpu_count(), "model": model, "kernel": platform.release(), "load_before": os.getloadavg()[0]},
        "revision": done.stdout.strip() or "unknown",
        "settings": {
            "transactions": args.count, "linger_ms": args.linger_ms, "partitions": PARTITIONS, "rounds": args.rounds,
            "latency_seconds": args.seconds, "preload": args.preload, "quick": args.quick,
        },
    }  # fmt: skip


def mean(runs, key):
    found = [run[key] for run in runs if run.get(key) is not None]
    return statistics.mean(found) if found else None


def ratio(value, base):
    return f"{value / base:.2f}" if value and base else "-"


def write(data):
    text = ["# Kafka benchmark", ""]
    machine, settings = data["machine"], data["settings"]
    text.append(
        f"Revision {data['revision']}; {machine['cpus']} cores ({machine['model']}), Linux {machine['kernel']}; load before "
        f"{machine['load_before']:.1f}. One Apache Kafka 4.1.1 broker on the same machine, {settings['partitions']} partitions, linger "
        f"{settings['linger_ms']} ms, at most 512 records a transaction, {settings['rounds']} round(s), workers taking turns."
    )
    if told := data.get("profile"):
        text.append(
            f"The copy loop sends the outputs of {told['from']}: {told['score_bytes']:,} bytes and {told['headers']} headers a score, "
            f"{told['alert_share']:.1%} alerts, {told['state_bytes_per_transaction']:.0f} bytes of state a transaction."
        )
    text += drain(data) + latency(data) + restore(data) + goals(data)
    text += ["", "## Settings by worker", ""]
    text += [f"- {title}: {data['notes'][name]}" for name, title in data["titles"].items()]
    if data["failures"]:
        text += ["", "## What did not come off", ""]
        text += [f"- {failure['part']}, {failure['worker']}: {failure['what'].splitlines()[0]}" for failure in data["failures"]]
    return "\n".join(text) + "\n"


def drain(data):
    if not data["drain"]:
        return []
    copy, fraudd = (mean(data["drain"].get(name, []), "cpu_s_per_100k") for name in ("copy", "fraudd"))
    count = data["settings"]["transactions"]
    text = ["", f"## Draining {count:,} transactions", "", "CPU is the worker's own process, after the first 40 % (compilers and caches are warm by then).", ""]
    text.append(f"| worker | CPU s per 100 k | of each round | x copy | x fraudd | transactions/s | once each | degraded | same outcome as {data.get('reference')} | same score |")
    text.append("|---|---|---|---|---|---|---|---|---|---|")
    for name, runs in data["drain"].items():
        cpu, against = mean(runs, "cpu_s_per_100k"), runs[-1].get("against")
        same = f"{against['same_outcome']:.3%} | {against['same_score']:.3%}" if against else "- | -"
        each = ", ".join(f"{run['cpu_s_per_100k']:.2f}" for run in runs)
        once = "yes" if all(run["exactly_once"] for run in runs) else "**no**"
        share = mean(runs, "degraded") / count
        degraded = f"**{share:.3%}**" if share > DEGRADED_MAX else f"{share:.3%}"
        speed = mean(runs, "rows_per_second")
        text.append(f"| {data['titles'][name]} | {cpu:.2f} | {each} | {ratio(cpu, copy)} | {ratio(cpu, fraudd)} | {speed:,.0f} | {once} | {degraded} | {same} |")
    return text


def latency(data):
    text = []
    for rate, by_worker in data["latency"].items():
        copy = {key: mean(by_worker.get("copy", []), key) for key in ("p50_ms", "p99_ms")}
        text += ["", f"## End to end at {int(rate):,}/s, open loop", "", "From when an input was due to its score at a read_committed reader; mean of the rounds.", ""]
        text.append("| worker | p50 ms | x copy | p99 ms | x copy | p99.9 ms | CPU s per 100 k | missing | doubled | sender late, p99 ms |")
        text.append("|---|---|---|---|---|---|---|---|---|---|")
        for name, runs in by_worker.items():
            p50, p99, p999, cpu = (mean(runs, key) for key in ("p50_ms", "p99_ms", "p999_ms", "cpu_s_per_100k"))
            lost, doubled = (sum(run[key] for run in runs) for key in ("missing", "doubled"))
            text.append(
                f"| {data['titles'][name]} | {p50:.1f} | {ratio(p50, copy['p50_ms'])} | {p99:.1f} | {ratio(p99, copy['p99_ms'])} "
                f"| {p999:.1f} | {cpu:.2f} | {lost} | {doubled} | {mean(runs, 'send_late_p99_ms'):.1f} |"
            )
    return text


def restore(data):
    if not data["restore"]:
        return []
    text = ["", "## kill -9 to the next commit", "", "Under a trickle of 200/s; the process is started again at once. The time holds its start, too.", ""]
    text += ["| worker | local state kept, s | lost, s | entities | entities/s when lost |", "|---|---|---|---|---|"]
    for name, found in data["restore"].items():
        kept = f"{found['kept_s']:.2f}" if "kept_s" in found else "keeps none"
        if name == "copy":
            text.append(f"| {data['titles'][name]} | has none | {found['lost_s']:.2f} | - | - |")
        else:
            text.append(f"| {data['titles'][name]} | {kept} | {found['lost_s']:.2f} | {found['entities']:,} | {found['entities_per_second']:,.0f} |")
    return text


def goals(data):
    """Each goal beside what was measured, as far as it was."""
    rows = []

    def goal(what, wanted, found, is_reached):
        if found is not None:
            rows.append(f"| {what} | {wanted} | {found:.2f} | {'reached' if is_reached(found) else '**missed**'} |")

    cpu = {name: mean(runs, "cpu_s_per_100k") for name, runs in data["drain"].items()}
    ours = cpu.get("fraudd")
    if ours:
        over = lambda names: min((cpu[name] for name in names if cpu.get(name)), default=None)
        copy, python, streams = over(("copy",)), over(PYTHON), over(("streams", "streams-100ms"))
        goal("CPU, times the copy loop's", f"<= {COPY_RATIO_MAX}", ours / copy if copy else None, lambda found: found <= COPY_RATIO_MAX)
        goal("the best Python peer's CPU, times fraudd's", f">= {PYTHON_RATIO_MIN}", python / ours if python else None, lambda found: found >= PYTHON_RATIO_MIN)
        goal("Kafka Streams' CPU, times fraudd's", f">= {STREAMS_RATIO_MIN}", streams / ours if streams else None, lambda found: found >= STREAMS_RATIO_MIN)
    for rate, by_worker in data["latency"].items():
        for key, title in (("p50_ms", "p50"), ("p99_ms", "p99")):
            own, base = mean(by_worker.get("fraudd", []), key), mean(by_worker.get("copy", []), key)
            goal(f"{title} at {int(rate):,}/s, times the copy loop's", f"<= {COPY_LATENCY_MAX}", own / base if own and base else None, lambda found: found <= COPY_LATENCY_MAX)
    kept = data["restore"].get("fraudd", {}).get("kept_s")
    goal("kill -9 to the next commit with local state, s", f"<= {RESTART_SECONDS_MAX}", kept, lambda found: found <= RESTART_SECONDS_MAX)
    return ["", "## Against the goals", "", "| figure | goal | measured | |", "|---|---|---|---|", *rows] if rows else []


def is_whole(data):
    """Whether every worker gave every transaction's decision once."""
    drained = all(run["exactly_once"] for runs in data["drain"].values() for run in runs)
    seen = [run for by_worker in data["latency"].values() for runs in by_worker.values() for run in runs]
    return drained and not any(run["missing"] or run["doubled"] for run in seen)
