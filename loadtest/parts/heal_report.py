"""The report of `heal.py`: tables with goals, and what must not be."""


def report(found):
    """Returns the text and the faults."""
    machine, lines, faults = found["machine"], [], []
    lines.append(
        f"{machine['at']}, revision {machine['revision']}; {machine['processor']}; load average {machine['load']:.1f} before, "
        f"{machine['load_after']:.1f} after{'; a quick run' if found['quick'] else ''}. Server and generator share these CPUs.\n"
    )
    for name, part in {"detection": of_detection, "storm": of_storm, "cost": of_cost}.items():
        if name in found:
            part(found[name], lines, faults)
    return "\n".join(lines) + "\n", faults


def table(lines, title, rows):
    lines += [f"**{title}**\n", "| figure | goal | measured | |", "|---|---|---|---|"]
    for figure, goal, measured, holds in rows:
        verdict = "" if holds is None else "reached" if holds else "**missed**"
        lines.append(f"| {figure} | {goal} | {measured} | {verdict} |")
    lines.append("")


def of_detection(found, lines, faults):
    delay, failed = found["delay_ms"], found["failed_calls"]
    if delay is None:
        faults.append("detection: no fault was measured")
        return
    opened = ", ".join(f"{cause} {count}" for cause, count in found["opened_by"].items())
    table(
        lines,
        f"Hard model fault at {found['rate']}/s, {found['measured']} of {found['faults']} faults measured",
        [
            ("first failed call to open breaker, p99", f"<= {found['goal_p99_ms']} ms", f"{delay['p99']:.1f} ms", delay["p99"] <= found["goal_p99_ms"]),
            ("the same, p50 / p95 / longest", "", f"{delay['p50']:.1f} / {delay['p95']:.1f} / {delay['most']:.1f} ms", None),
            ("calls that failed before, p50 / most", "", f"{failed['p50']} / {failed['most']}", None),
            ("opened by", "", opened, None),
            ("faults not found", "0", found["missed"], found["missed"] == 0),
            ("breaker still on its way back when the fault began (left out)", "", found["not_closed_before"], None),
            ("requests failed", "0", f"{found['requests_failed']} of {found['answers']:,}", found["requests_failed"] == 0),
            (
                f"answers past their deadline ({found['deadline_ms']} ms in the service)", "0",
                f"{found['late_answers']}; latest {found['latest_in_service_ms']:.1f} ms", found["late_answers"] == 0,
            ),
            (
                "the same by the generator's clock, scheduling of both included", "",
                f"{found['late_since_sent']}; latest {found['latest_since_sent_ms']:.1f} ms", None,
            ),
            ("answers by the rules behind the open breaker", "", f"{found['by_rules']:,}", None),
        ],
    )
    if found["missed"] or found["requests_failed"]:
        faults.append(f"detection: {found['missed']} faults missed, {found['requests_failed']} requests failed")


def of_storm(found, lines, faults):
    p50, p99, answers, grown = found["p50_ms"], found["p99_ms"], found["answers"], found["grown_mb"]
    kinds = found["answers_by_release"]["swaps"]
    by = ", ".join(f"{version} {count:,}" for version, count in sorted(kinds.items()))
    each = "; ".join(f"{kind} " + ", ".join(f"{p:.1f}" for p in of) for kind, of in found["p99_of_each_ms"].items())
    degraded = "; ".join(
        f"{kind} " + (", ".join(f"{reason} {count:,}" for reason, count in of.items()) or "none") for kind, of in found["degraded"].items()
    )
    table(
        lines,
        f"Swap storm, {found['swaps']} swaps in {found['seconds_each']:.0f} s at {found['rate']:,}/s (70 % of capacity), beside as long without; state bounded and full before",
        [
            ("requests failed in the storm", "0", f"{found['errors']} of {answers['swaps']:,}", found["errors"] == 0),
            (
                "never left, or were not answered when a stretch ended, with / without swaps", "",
                f"{found['not_in_time']['swaps']:,} / {found['not_in_time']['alone']:,}", None,
            ),
            ("answers of two releases", "0", f"{found['mixed']} of {sum(answers.values()):,}", found["mixed"] == 0),
            ("rows that were not their model's (model errors)", "0", found["model_errors"], found["model_errors"] == 0),
            ("p99 with swaps over p99 of the stretch before without, median", "<= 1.5", f"{found['p99_ratio']:.2f}", found["p99_ratio"] <= found["goal_ratio"]),
            ("p99 with / without", "", f"{p99['swaps']:.2f} / {p99['alone']:.2f} ms", None),
            ("p50 with / without", "", f"{p50['swaps']:.2f} / {p50['alone']:.2f} ms", None),
            ("p99 of each stretch, ms", "", each, None),
            (
                "memory before / after",
                "<= +10 %",
                f"{found['resident_before_mb']:.0f} / {found['resident_after_mb']:.0f} MB ({found['grown']:+.1%})",
                found["grown"] <= found["goal_growth"],
            ),
            ("of that while swapping / left alone", "", f"{grown['swaps']:+.0f} / {grown['alone']:+.0f} MB", None),
            ("a swap takes, p50 / p99", "", f"{found['swap_ms']['p50']:.1f} / {found['swap_ms']['p99']:.1f} ms", None),
            ("answers by release while swapping", "", by, None),
            ("degraded", "", degraded, None),
            ("actions of healing meanwhile", "", len(found["healing_acted"]), None),
        ],
    )
    if found["errors"] or found["mixed"] or found["swaps_refused"]:
        faults.append(f"storm: {found['errors']} failed, {found['mixed']} mixed, refused swaps {found['swaps_refused']}")


def of_cost(found, lines, faults):
    rows, goal = [], found["goal_share"]
    for at in found["at"]:
        us, p99, rate = at["us_a_decision"], at["p99_ms"], f"{at['rate']:,}/s"
        rows += [
            (f"{rate}: healing thread's share of the process' CPU", "<= 3 %", f"{at['healer_share']:.2%}", at["healer_share"] <= goal),
            (f"{rate}: healing thread, a decision / a decision it looked at", "", f"{at['healer_us']:.2f} / {at['healer_us_an_observation']:.2f} µs", None),
            (f"{rate}: all other threads, on less off", "", f"{at['others_on_less_off_us']:+.2f} µs a decision", None),
            (f"{rate}: the process, on / off", "", f"{us['on']:.1f} / {us['off']:.1f} µs a decision", None),
            (f"{rate}: p99 on / off", "", f"{p99['on']:.2f} / {p99['off']:.2f} ms", None),
            (f"{rate}: decisions looked at / left out / no room", "", f"{at['observed']:,.0f} / {at['skipped']:,.0f} / {at['dropped']:,.0f}", None),
        ]
    table(lines, f"What watching costs (70 % of {found['capacity']:,.0f}/s, and the rate up to which every decision is looked at)", rows)
    for at in found["at"]:
        threads = "; ".join(f"{name} {us['on']:.2f} / {us['off']:.2f}" for name, us in at["us_by_thread"].items() if max(us.values()) >= 0.005)
        lines.append(f"Threads at {at['rate']:,}/s, µs a decision, healing on / off: {threads}.\n")
