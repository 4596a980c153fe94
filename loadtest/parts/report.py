"""Tells what the parts found: report.md, and report.html that stands alone. Reads data.json's shape and the pictures."""

import html
import pathlib
import re

MARKDOWN, HTML = "report.md", "report.html"


def write(data, pictures, folder):
    """Writes both reports from the same blocks."""
    blocks = list(header(data))
    for part, tell in TELLERS.items():
        found = data["parts"].get(part)
        if found is None:
            continue
        blocks.append(("heading", TITLES[part]))
        if "skipped" in found:
            blocks.append(("text", f"**Not run:** {found['skipped']}."))
            continue
        blocks.extend(tell(found))
        blocks.extend(("picture", name, title) for name, title in pictures.get(part, ()))
    (folder / MARKDOWN).write_text("\n\n".join(map(markdown, blocks)) + "\n")
    (folder / HTML).write_text(page(data, blocks, folder))


def header(data):
    machine = data["machine"]
    yield ("title", f"Load test of {data['target']}")
    yield (
        "text",
        f"{data['started']}, revision {data['revision']}{', quick' if data['quick'] else ''}; {machine['cpus']} CPUs "
        f"({machine['model']}), Linux {machine['kernel']}; load average {machine['load_before']} before, "
        f"{machine['load_after']} after; {machine['steal']:.1%} of the CPU time went to the host's other guests. Server, load "
        "generator and echo share these CPUs: compare ratios within this report, not times between reports.",
    )
    if data["faults"]:
        yield ("list", [f"**FAULT** {fault}" for fault in data["faults"]])
    else:
        ran = [part for part, found in data["parts"].items() if "skipped" not in found]
        shown = [HOLDS[part] for part in ran if part in HOLDS]
        yield ("text", f"Parts run: {', '.join(ran) or 'none'}. {' '.join(shown) or 'None of them judges.'}")


def ms(microseconds):
    return "" if microseconds is None else f"{microseconds / 1000:.2f}"


def figures(name, result, base):
    cpu = result["cpu_us_per_answer"]
    return [
        name,
        f"{cpu:.1f}",
        f"{cpu / base:.2f}",
        f"{result['accepted_per_second']:,.0f}",
        ms(result["p50_us"]),
        ms(result["p99_us"]),
        ms(result["p999_us"]),
        str(result["degraded"]),
        str(sum(count for status, count in result["statuses"].items() if status != "200")),
        str(result["late"] + result["unanswered"]),
    ]


FIGURES = ["", "CPU µs/answer", "× echo", "decided/s", "p50 ms", "p99 ms", "p99.9 ms", "degraded", "other statuses", "unanswered"]


def tell_steps(found):
    capacity = found["capacity"]
    rounds = "one round" if found["rounds"] == 1 else f"median by p99 of {found['rounds']} interleaved rounds"
    yield (
        "text",
        f"{found['connections']} connections, {found['seconds']} s a run, answers kept: {found['durability']}. Capacity first (closed "
        f"loop), then an open loop at shares of it, the echo at the same rates; {rounds}. Latency counts from when a request was due.",
    )
    base = capacity["echo"]["cpu_us_per_answer"]
    yield ("table", FIGURES, [figures(f"closed loop, {name}", capacity[name], base) for name in ("echo", "fraudd")])
    rows = []
    for step in found["steps"]:
        base = step["echo"]["cpu_us_per_answer"]
        rows += [figures(f"{step['share']} %, {step['rate']:,}/s, {name}", step[name], base) for name in ("echo", "fraudd")]
    yield ("table", FIGURES, rows)


def tell_overload(found):
    yield (
        "text",
        f"One server, {found['connections']:,} connections, answers kept: {found['durability']}; capacity {found['capacity']:,.0f}/s. At "
        f"twice that, {found['accepted_share']:.0%} of capacity was decided. `since due` counts the wait for a free connection too, "
        "`since sent` only the service.",
    )
    head = ["phase", "offered/s", "sent/s", "decided/s", "by", "degraded", "refused", "with Retry-After", "failures", "never sent"]
    head += ["p50 ms", "p99 ms since due", "p99 ms since sent", "refused p99 ms since sent", "memory MB, most"]
    rows = []
    for name, phase in found["phases"].items():
        result = phase["result"]
        accepted, refused = result["accepted"], result["refused"]
        rows.append(
            [
                name,
                f"{phase['offered_per_second']:,}",
                f"{phase['sent_per_second']:,.0f}",
                f"{result['accepted_per_second']:,.0f}",
                counts(phase["decided_by"]),
                counts(phase["degraded_reasons"]),
                counts({status: count for status, count in result["statuses"].items() if status != "200"}),
                str(result["retry_after"]),
                counts(result["failures"]),
                str(result["late"]),
                ms(accepted["p50_us"]),
                ms(accepted["p99_us"]),
                ms(accepted["from_sent"]["p99_us"]),
                ms(refused["from_sent"]["p99_us"]) if refused["count"] else "",
                f"{phase['memory_mb']['max'] or 0:.0f}",
            ]
        )
    yield ("table", head, rows)
    back = found["recovery"]
    when = "did not come back" if back["back_after_s"] is None else f"was back in second {back['back_after_s']} after the overload"
    yield (
        "text",
        f"p99 before {ms(back['p99_before_us'])} ms; it {when} (within twice that and 2 ms); from the third second on it was "
        f"{ms(back['p99_later_us'])} ms, with {back.get('refused_later', 0)} refused. Memory idle {found['idle_mb']:.0f} MB.",
    )


def counts(found):
    return ", ".join(f"{name} {count:,}" for name, count in found.items()) or "0"


def tell_crash(found):
    yield (
        "text",
        f"A store with `durability = {found['durability']}`, {found['rate']:,}/s, {found['kills']} times `kill -9` and a restart on the "
        f"same store. Then each of the {found['answers']:,} recorded answers was asked for again and compared: outcome, score to the last "
        f"digit, instant. {found['segments']} segment files at the end.",
    )
    head = ["answers", "lost", "changed", "not in the feed", "doubled", "kept, answer under way at the kill"]
    keys = ("answers", "lost", "changed", "missing_in_feed", "doubled", "kept_unanswered")
    yield ("table", head, [[f"{found[key]:,}" for key in keys]])
    rows = [
        [str(turn), f"{each['first_answer_s']:.2f}", f"{each['ready_s']:.2f}", counts(each["result"]["statuses"]), counts(each["result"]["failures"])]
        for turn, each in enumerate(found["rounds"], 1)
    ]
    yield ("table", ["kill", "to the first answer, s", "to ready, s", "answers by status", "failures of connections"], rows)


def tell_durability(found):
    yield (
        "text",
        f"At {found['rate']:,}/s, 70 % of the capacity with `process`; segments of {found['segment_size']}, so that files roll all the time. "
        + ("One round." if found["rounds"] == 1 else f"Median by p99 of {found['rounds']} interleaved rounds."),
    )
    base = found["results"]["echo"]["cpu_us_per_answer"]
    rows = []
    for name, result in found["results"].items():
        store = found["stores"].get(name)
        rows.append(
            figures(f"{name}, {found['rates'].get(name, found['rate']):,}/s", result, base)
            + [f"{found['capacities'][name]:,.0f}" if name in found["capacities"] else ""]
            + [f"{store['segments']} files, {store['mb']:.0f} MB" if store else ""]
        )
    yield ("table", [*FIGURES, "capacity/s", "written"], rows)


TITLES = {
    "steps": "Latency, throughput and CPU by load",
    "overload": "Overload and recovery",
    "crash": "kill -9 under load",
    "durability": "What keeping the answers costs",
}
# What a part without a fault has shown.
HOLDS = {
    "overload": "Overload: no collapse, and the latency came back.",
    "crash": "Crash: no answered decision was lost, changed or doubled.",
}
TELLERS = {"steps": tell_steps, "overload": tell_overload, "crash": tell_crash, "durability": tell_durability}


def markdown(block):
    kind, *rest = block
    match kind:
        case "title":
            return f"# {rest[0]}"
        case "heading":
            return f"## {rest[0]}"
        case "text":
            return rest[0]
        case "list":
            return "\n".join(f"- {item}" for item in rest[0])
        case "picture":
            return f"![{rest[1]}]({rest[0]}.svg)"
        case "table":
            head, rows = rest
            lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
            return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
    raise ValueError(kind)


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}td,th{border:1px solid #ccc;padding:.25rem .5rem;text-align:right}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}li{color:#a30000}code{background:#f2f2f2}"""


def page(data, blocks, folder):
    title = html.escape(f"Load test of {data['target']}")
    body = "\n".join(element(block, folder) for block in blocks)
    return f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


def inline(text):
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def element(block, folder: pathlib.Path):
    kind, *rest = block
    match kind:
        case "title":
            return f"<h1>{inline(rest[0])}</h1>"
        case "heading":
            return f"<h2>{inline(rest[0])}</h2>"
        case "text":
            return f"<p>{inline(rest[0])}</p>"
        case "list":
            return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in rest[0]) + "</ul>"
        case "picture":
            drawn = (folder / f"{rest[0]}.svg").read_text()
            return f"<figure>{drawn[drawn.index('<svg') :]}<figcaption>{inline(rest[1])}</figcaption></figure>"
        case "table":
            head, rows = rest
            cells = lambda row, tag: "<tr>" + "".join(f"<{tag}>{inline(cell)}</{tag}>" for cell in row) + "</tr>"
            return "<table>" + cells(head, "th") + "".join(cells(row, "td") for row in rows) + "</table>"
    raise ValueError(kind)
