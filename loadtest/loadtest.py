#!/usr/bin/env python3
"""Loads fraudd and reports what it does: steps of load, overload, kill -9, the price of durability.

    make loadtest                              the bare binary, every part
    make loadtest IMAGE=localhost/fraudd:test  the container, with podman and runc
    make loadtest ARGS='--quick --only steps'  a first look at one part

Writes report.md, report.html, data.json and the pictures into target/loadtest/NAME/. Exit code 1 when an
answered decision was lost, changed or doubled or the service collapsed under twice its load, 130 after Ctrl-C;
every server that was started is ended.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile

import harness
from harness import ROOT, say
from parts import pictures, report
from parts.crash import crash
from parts.durability import durability
from parts.overload import overload
from parts.run import Run
from parts.steps import steps

PARTS = {"steps": steps, "overload": overload, "crash": crash, "durability": durability}
CUSTOMERS = 20_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--image", help="a container image instead of the bare binary; needs podman and runc")
    what.add_argument("--fraudd", type=pathlib.Path, default=harness.RELEASE / "fraudd", help="another binary")
    parser.add_argument("--memory", default="256m", help="memory of the container (default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument("--quick", action="store_true", help="short runs, one round: a first look")
    parser.add_argument("--kills", type=int, default=3, help="how often kill -9 (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="connections of steps, crash and durability (default: %(default)s)")
    parser.add_argument(
        "--durability", choices=["memory", "process", "disk"], default="memory", help="of steps and overload (default: %(default)s)"
    )
    parser.add_argument("--name", help="of the report's folder (default: target, date and time)")
    parser.add_argument("--render", type=pathlib.Path, metavar="FOLDER", help="only draw and write a report again from its data.json")
    args = parser.parse_args()
    if args.kills < 1 or not 1 <= args.connections <= 4096:
        parser.error("--kills must be at least 1 and --connections within 1..=4096")
    if args.name and pathlib.Path(args.name).name != args.name:
        parser.error("--name is a folder's name, not a path")
    return args


def steal():
    """CPU ticks since boot: those the host gave to others, and all."""
    ticks = [int(tick) for tick in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[7], sum(ticks)


def machine():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"cpus": os.cpu_count(), "model": model, "kernel": platform.release(), "load_before": f"{os.getloadavg()[0]:.1f}"}


def revision():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def measure(args, folder):
    """Runs the parts; what was found until a Ctrl-C is kept too."""
    target = harness.Image(args.image, args.memory) if args.image else harness.Binary(args.fraudd)
    data = {"target": target.title, "started": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"), "revision": revision()}
    data |= {"quick": args.quick, "machine": machine(), "parts": {}}
    stolen, ticks = steal()
    with tempfile.TemporaryDirectory(prefix="fraudd-load-") as scratch:
        say("simulating transactions")
        bodies = harness.Bodies(pathlib.Path(scratch), 300_000 if args.quick else 900_000, CUSTOMERS)
        run = Run(target, folder, bodies, args.quick, args.connections, args.durability, args.kills)
        if args.durability != "memory" and not run.has_store:
            raise SystemExit("--durability: this binary has no store (`fraudd config show` knows no state.directory)")
        data["faults"] = run.faults
        interrupted = False
        try:
            for name in args.only or PARTS:
                say(f"== {name}")
                data["parts"][name] = PARTS[name](run)
        except KeyboardInterrupt:
            interrupted = True
            run.faults.append("interrupted: what follows is not all")
    now, all_ticks = steal()
    data["machine"] |= {"load_after": f"{os.getloadavg()[0]:.1f}", "steal": (now - stolen) / max(1, all_ticks - ticks)}
    return data, interrupted


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(*_):
    # Once: what follows is ending the servers and writing down what was found.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def render(data, folder):
    report.write(data, pictures.draw(data, folder), folder)
    print(folder / report.MARKDOWN)
    print(folder / report.HTML)


def main():
    args = arguments()
    if args.render:
        render(json.loads((args.render / "data.json").read_text()), args.render)
        return 0
    for number in SIGNALS:
        signal.signal(number, interrupt)
    harness.raise_open_files()
    kind = "container" if args.image else "binary"
    name = args.name or f"{kind}-{datetime.datetime.now().strftime('%Y%m%d-%H%M%S')}"
    folder = ROOT / "target" / "loadtest" / name
    folder.mkdir(parents=True, exist_ok=True)
    data, interrupted = measure(args, folder)
    (folder / "data.json").write_text(json.dumps(data, indent=1))
    render(data, folder)
    for fault in data["faults"]:
        say(f"FAULT: {fault}")
    return 130 if interrupted else 1 if data["faults"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
