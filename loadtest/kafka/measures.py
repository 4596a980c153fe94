"""What is measured: draining a full topic, latency at a fixed rate, coming back after kill -9."""

import contextlib
import json
import queue
import threading
import time

from rig import Failure, kill, say
from workers import Run

SCORE_TOLERANCE = 1e-5
RESTORE_WITHIN = 180
RESTORE_RATE = 200


def drain(rig, worker, source, total, linger_ms, decisions=None):
    """CPU and throughput over a preloaded topic, and whether everything came out once."""
    topics = rig.topics(worker.name, source)
    with Run(rig, worker, topics, linger_ms) as run:
        found = rig.ask("drain", "--group", topics.prefix, "--topic", source, "--total", total, "--pid", run.process.pid, log=run.log)
        out = ["--out", decisions] if decisions and worker.decides else []
        scores = rig.ask("read", "--topic", topics["scores"], *out)
        alerts = rig.ask("read", "--topic", topics["alerts"])
        state = rig.ask("read", "--topic", topics["state"])
    found |= {
        "scores": scores["records"], "ids": scores["ids"], "alerts": alerts["records"], "outcomes": scores["outcomes"], "degraded": scores["degraded"],
        "bytes_per_score": scores["bytes"] / max(1, scores["records"]), "state_records": state["records"], "state_bytes": state["bytes"],
    }  # fmt: skip
    found["exactly_once"] = scores["records"] == scores["ids"] == total if worker.decides else scores["records"] == total
    samples = {"scores": scores["sample"], "alerts": alerts["sample"]}
    return found, samples


def profile(rig, worker, lines, count, linger_ms, path):
    """Writes what a worker's outputs look like, for the copy loop."""
    topic = f"profile-{worker.name}"
    rig.ask("topics", "--create", topic)
    rig.ask("fill", "--lines", lines, "--topic", topic, "--count", count)
    found, samples = drain(rig, worker, topic, count, linger_ms)
    alert = samples["alerts"] or samples["scores"]
    told = {
        "from": worker.name, "scores": samples["scores"], "alerts": alert, "features": None,
        "alert_share": found["alerts"] / count,
        # A worker whose state is in a topic of its own making: as many bytes as an input has.
        "state_bytes_per_row": found["state_bytes"] / count if found["state_bytes"] else 256.0,
        "metadata": "v1;l=0;w=1763000000000000;h=0123456789abcdef;t=bench-0-1",
    }  # fmt: skip
    path.write_text(json.dumps(told))
    rig.ask("topics", "--delete", topic)
    return told


def compare(reference, other):
    """Shares of decisions with the same outcome, and with the same score."""
    def load(path):
        with open(path) as lines:
            return {line.split("\t")[0]: line.rstrip("\n").split("\t")[1:3] for line in lines}

    ours, theirs = load(reference), load(other)
    both = ours.keys() & theirs.keys()
    same = sum(ours[key][0] == theirs[key][0] for key in both)
    close = sum(abs(float(ours[key][1]) - float(theirs[key][1])) <= SCORE_TOLERANCE for key in both)
    return {"compared": len(both), "same_outcome": same / max(1, len(both)), "same_score": close / max(1, len(both))}


def latency(rig, worker, lines, rate, seconds, warm_up, preload, linger_ms):
    """Open loop at `rate`, after `preload` transactions that warm everything up."""
    topics = rig.topics(worker.name)
    with Run(rig, worker, topics, linger_ms) as run:
        rig.ask("fill", "--lines", lines, "--topic", topics["transactions"], "--count", preload)
        waiting = ["--group", topics.prefix, "--topic", topics["transactions"], "--total", preload, "--pid", run.process.pid]
        rig.ask("drain", *waiting, log=run.log)
        probe = ["--lines", lines, "--skip", preload, "--input", topics["transactions"], "--scores", topics["scores"]]
        probe += ["--rate", rate, "--seconds", seconds + warm_up, "--warm-up", warm_up, "--pid", run.process.pid]
        return rig.ask("probe", *probe, log=run.log)


def restore(rig, worker, lines, preload, entities, linger_ms):
    """kill -9 with a trickle of input: how long until the next commit, with local state and without."""
    topics = rig.topics(worker.name)
    source, found = topics["transactions"], {"entities": entities}
    with Run(rig, worker, topics, linger_ms) as run:
        rig.ask("fill", "--lines", lines, "--topic", source, "--count", preload)
        waiting = ["--group", topics.prefix, "--topic", source, "--total", preload, "--pid", run.process.pid]
        rig.ask("drain", *waiting, log=run.log)
        feed = [rig.kafkabench, "--bootstrap", rig.bootstrap, "fill", "--lines", lines, "--topic", source]
        feed += ["--skip", preload, "--rate", RESTORE_RATE]
        feeding = rig.spawn(feed, rig.folder / "feed.log")
        commits = Commits(rig, topics.prefix, source)
        try:
            if worker.keeps_state:
                found["kept_s"] = back(rig, run, commits, is_kept=True)
            found["lost_s"] = back(rig, run, commits, is_kept=False)
        finally:
            rig.forget(feeding)
            commits.close()
    found["entities_per_second"] = entities / found["lost_s"]
    return found


class Commits:
    """The moves of a group's committed offsets, as they happen."""

    def __init__(self, rig, group, topic):
        self.rig, self.process, self.lines = rig, rig.commits(group, topic), queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(ValueError):
            for line in self.process.stdout:
                self.lines.put(json.loads(line))

    def newest(self):
        """What is known by now; waits for the first."""
        found = self.lines.get(timeout=30)
        while not self.lines.empty():
            found = self.lines.get()
        return found["committed"]

    def beyond(self, committed, within):
        """When the group passed `committed`, or nothing."""
        until = time.monotonic() + within
        with contextlib.suppress(queue.Empty):
            while (left := until - time.monotonic()) > 0:
                line = self.lines.get(timeout=left)
                if line["committed"] > committed:
                    return line["at"]
        return None

    def close(self):
        self.rig.forget(self.process)
        self.reader.join(5)


def back(rig, run, commits, is_kept):
    """Seconds from kill -9 to the first commit of the process after it."""
    committed = commits.newest()
    if commits.beyond(committed, 30) is None:
        raise Failure(f"{run.worker.name} commits nothing of the trickle")
    rig.processes.remove(run.process)
    killed_at = kill(run.process)
    # A commit that was under way may still come through; what counts is the new process's.
    time.sleep(0.1)
    with contextlib.suppress(queue.Empty):
        committed = commits.lines.get_nowait()["committed"]
    while not commits.lines.empty():
        committed = commits.lines.get()["committed"]
    if not is_kept:
        run.lose_state()
    run.start()
    at = commits.beyond(committed, RESTORE_WITHIN)
    if at is None:
        raise Failure(f"{run.worker.name} committed nothing within {RESTORE_WITHIN} s after kill -9")
    say(f"    {'state kept' if is_kept else 'state lost'}: {at - killed_at:.2f} s")
    return at - killed_at
