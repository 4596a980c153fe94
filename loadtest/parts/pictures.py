"""Draws what the parts found, as SVG files. Knows the shape of data.json and nothing else."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Told apart by people who do not see red and green differently, and in print (Okabe and Ito, 2008).
BLUE, ORANGE, GREEN, RED, GREY, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666", "#56B4E9"
QUANTILES = (("p50_us", "p50", "o"), ("p99_us", "p99", "s"), ("p999_us", "p99.9", "^"))

plt.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "fraudd",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
)


def draw(data, folder):
    """Draws every picture there is data for; returns name and title of each, by part."""
    pictures = {}
    for part, makers in MAKERS.items():
        found = data["parts"].get(part)
        if not found or "skipped" in found:
            continue
        for name, title, maker in makers:
            figure = maker(found)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
            plt.close(figure)
            pictures.setdefault(part, []).append((name, title))
    return pictures


def latency_by_load(found):
    figure, axes = plt.subplots(figsize=(7, 4))
    shares = [step["share"] for step in found["steps"]]
    for server, colour, line in (("fraudd", BLUE, "-"), ("echo", GREY, "--")):
        for key, name, marker in QUANTILES:
            values = [step[server][key] / 1000 for step in found["steps"]]
            axes.plot(shares, values, line, marker=marker, color=colour, label=f"{server} {name}")
    axes.set_yscale("log")
    axes.set_xticks(shares)
    axes.set_xlabel("load, % of fraudd's capacity (open loop)")
    axes.set_ylabel("latency since due, ms")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=6, columnspacing=1)
    return figure


def throughput_and_cpu(found):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    offered = [step["rate"] for step in found["steps"]]
    left.plot(offered, offered, ":", color=GREY, label="offered")
    left.plot(offered, [step["fraudd"]["accepted_per_second"] for step in found["steps"]], "-o", color=BLUE, label="decided")
    left.axhline(found["capacity"]["fraudd"]["accepted_per_second"], color=ORANGE, ls="--", label="capacity, closed loop")
    left.set_ylim(bottom=0)
    left.set_xlabel("offered per second")
    left.set_ylabel("decisions per second")
    left.legend()
    shares = [step["share"] for step in found["steps"]]
    for server, colour, line in (("fraudd", BLUE, "-o"), ("echo", GREY, "--s")):
        right.plot(shares, [step[server]["cpu_us_per_answer"] for step in found["steps"]], line, color=colour, label=server)
    right.set_ylim(bottom=0)
    right.set_xlabel("load, % of fraudd's capacity")
    right.set_ylabel("server CPU per answer, µs")
    right.legend()
    figure.tight_layout()
    return figure


def over_time(points, axes_rate, axes_latency):
    at = [point["at"] for point in points]
    below = [0] * len(points)
    layers = (
        ("decided, whole", BLUE, [point["accepted"] - point["degraded"] for point in points]),
        ("decided, degraded", GREEN, [point["degraded"] for point in points]),
        ("refused", ORANGE, [point["refused"] for point in points]),
    )
    for name, colour, heights in layers:
        # A bar a second: between two runs of the generator nothing was sent, and nothing is drawn.
        axes_rate.bar(at, heights, 1, below, align="edge", color=colour, label=name)
        below = [low + height for low, height in zip(below, heights)]
    axes_rate.set_ylabel("answers per second")
    for key, name, colour in (("p50_us", "p50", SKY), ("p99_us", "p99", BLUE)):
        places, values = [], []
        for before, point in zip([None, *points], points):
            if before and before["phase"] != point["phase"]:
                places.append(before["at"] + 1)
                values.append(float("nan"))
            places.append(point["at"])
            values.append(point[key] / 1000 if point[key] is not None else float("nan"))
        axes_latency.plot(places, values, marker=".", color=colour, label=f"{name} of decided")
    axes_latency.set_yscale("log")
    axes_latency.set_ylabel("latency since due, ms")


def overload_line(found):
    figure, (rate, latency, memory) = plt.subplots(3, 1, figsize=(9, 7), sharex=True)
    over_time(found["timeline"], rate, latency)
    rate.axhline(found["capacity"], color=GREY, ls=":", label="capacity")
    memory.plot(*zip(*[sample for sample in found["memory"] if sample[0] >= 0]), color=GREEN)
    memory.set_ylim(bottom=0)
    memory.set_ylabel("resident memory, MB")
    memory.set_xlabel("seconds")
    for axes in (rate, latency, memory):
        for name, start, end in found["spans"]:
            if name == "overload":
                axes.axvspan(start, end, color=RED, alpha=0.07)
    rate.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=6)
    latency.legend(loc="upper right")
    return figure


def crash_line(found):
    figure, (rate, latency) = plt.subplots(2, 1, figsize=(9, 5.5), sharex=True)
    over_time(found["timeline"], rate, latency)
    for turn, killed in enumerate(found["rounds"]):
        for axes in (rate, latency):
            axes.axvline(killed["at"], color=RED, label="kill -9" if turn == 0 else None)
            axes.axvline(killed["at"] + killed["first_answer_s"], color=GREEN, ls="--", label="first answer" if turn == 0 else None)
            axes.axvline(killed["at"] + killed["ready_s"], color=GREEN, ls=":", label="ready" if turn == 0 else None)
    rate.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=6)
    latency.set_xlabel("seconds")
    return figure


def durability_bars(found):
    figure, (cpu, latency) = plt.subplots(1, 2, figsize=(9, 3.6))
    names = list(found["results"])
    results = [found["results"][name] for name in names]
    base = found["results"]["echo"]["cpu_us_per_answer"]
    bars = cpu.bar(names, [result["cpu_us_per_answer"] for result in results], color=[GREY, BLUE, SKY, GREEN])
    cpu.bar_label(bars, [f"{result['cpu_us_per_answer'] / base:.1f} x" for result in results])
    cpu.set_ylabel("server CPU per answer, µs")
    places = range(len(names))
    for offset, (key, name, _) in zip((-0.27, 0, 0.27), QUANTILES):
        values = [result[key] / 1000 for result in results]
        latency.bar([place + offset for place in places], values, 0.25, label=name, color={"p50": SKY, "p99": BLUE, "p99.9": ORANGE}[name])
    latency.set_xticks(list(places), names)
    latency.set_yscale("log")
    latency.set_ylabel("latency since due, ms")
    latency.legend()
    figure.tight_layout()
    return figure


MAKERS = {
    "steps": (
        ("latency-by-load", "Latency by load", latency_by_load),
        ("throughput-and-cpu", "Throughput, and CPU per decision, by load", throughput_and_cpu),
    ),
    "overload": (("overload", "Overload (shaded) and recovery", overload_line),),
    "crash": (("crash", "kill -9 and restart under load", crash_line),),
    "durability": (("durability", "What keeping the answers costs", durability_bars),),
}
