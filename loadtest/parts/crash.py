"""`kill -9` under load, again and again on one store: nothing answered may be lost, changed or doubled."""

import http.client
import itertools
import json
import random
import time

import harness
from harness import say

from .run import ask, timeline, without_timeline

BATCH_LEN = 1_000
PAGE_LEN = 1_000
RESTORE_WITHIN = 600
DURABILITY = "process"
# Retention must not let go what is asked for again.
KEEP = {"state.bytes_max": "2GiB"}


def crash(run):
    """Kills and restarts the service under half load, then asks for every recorded answer again."""
    if not run.has_store:
        say("  this binary has no store (`fraudd config show` knows no state.directory): nothing to lose, not run")
        return {"skipped": "this binary has no store: `fraudd config show` knows no `state.directory`"}
    durability = DURABILITY if run.durability == "memory" else run.durability
    rate, seconds = run.rate(0.5, durability), 8 if run.quick else 12
    run.bodies.at_least(int(rate * seconds * run.kills * 1.1) + 1_000)
    chance = random.Random(7)
    rounds, sent, records = [], 0, []
    with run.store() as store:
        port = harness.free_port()
        start = lambda wait=True: run.target.serve(run.settings(durability) | KEEP, store, port, wait)
        server = start()
        try:
            for turn in range(run.kills):
                records.append(run.folder / f"answers-{turn + 1}.tsv")
                kill_at = chance.uniform(0.25, 0.5) * seconds
                say(f"kill {turn + 1} of {run.kills}: {rate}/s, kill -9 after {kill_at:.1f} s")
                # Its CPU time would end with the process that is killed.
                with harness.Generator(
                    server, run.bodies, rate, seconds, run.connections, sent, records[-1], pid=False
                ) as load:
                    load.go()
                    time.sleep(kill_at)
                    killed_at = time.time()
                    server.kill()
                    server = start(wait=False)
                    first = first_answer(server, run.bodies, killed_at)
                    ready = server.wait_until_ready(RESTORE_WITHIN) and time.time() - killed_at
                    result = load.finish()
                if result["unreadable"]:
                    raise SystemExit(f"{result['unreadable']} answers with status 200 are no decisions")
                sent += result["sent"]
                say(f"  first answer {first:.2f} s, ready {ready:.2f} s after the kill")
                rounds.append({"killed_at": killed_at, "first_answer_s": first, "ready_s": ready, "result": result})
            found = verify(run, server, records, sent)
        finally:
            server.__exit__()
        found["segments"] = len(list(store.rglob("*.seg")))
    origin = rounds[0]["result"]["started_at"]
    found |= {"rate": rate, "durability": durability, "kills": run.kills}
    found["timeline"] = timeline([(str(n), r["result"]) for n, r in enumerate(rounds, 1)], origin)
    found["rounds"] = [
        {"at": r["killed_at"] - origin, "first_answer_s": r["first_answer_s"], "ready_s": r["ready_s"]}
        | {"result": without_timeline(r["result"])}
        for r in rounds
    ]
    judge(run, found)
    for record in records:
        record.unlink()
    return found


def first_answer(server, bodies, since):
    """Asks (without recording) until a decision is answered; returns the seconds it took."""
    with open(bodies.path, "rb") as lines:
        body = next(lines).strip()
    while time.time() - since < RESTORE_WITHIN:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.name} ended at restart\n{server.end_of_log()}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)
            connection.request("POST", "/v1/decisions:dry-run", body, {"content-type": "application/json"})
            if connection.getresponse().status == 200:
                return time.time() - since
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise SystemExit(f"{server.name} answered nothing within {RESTORE_WITHIN} s of the kill\n{server.end_of_log()}")


def verify(run, server, records, sent):
    """Reads the feed, then asks for every recorded answer again."""
    answers = {}
    recorded_twice = 0
    for record in records:
        for line in record.read_text().splitlines():
            identity, *told = line.split("\t")
            recorded_twice += identity in answers
            answers[identity] = told
    say(f"checking {len(answers):,} answers")
    feed, doubled = read_feed(server)
    missing = sum(identity not in feed for identity in answers)
    lost, changed, examples = ask_again(run, server, answers, sent)
    return {
        "answers": len(answers),
        "in_feed": len(feed),
        "lost": lost,
        "changed": changed,
        "missing_in_feed": missing,
        "doubled": doubled + recorded_twice,
        # In flight when the process died: decided and kept, the answer was on its way.
        "kept_unanswered": len(feed) - (len(answers) - missing),
        "examples": examples,
    }


def read_feed(server):
    """Every id of the feed, and how often one came again."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    seen, doubled, after = set(), 0, None
    while True:
        cursor = f"&after={after}" if after is not None else ""
        page = ask(connection, "GET", f"/v1/decisions?limit={PAGE_LEN}{cursor}")
        for decision in page["decisions"]:
            doubled += decision["transaction_id"] in seen
            seen.add(decision["transaction_id"])
        if len(page["decisions"]) < PAGE_LEN or page.get("next") is None:
            connection.close()
            return seen, doubled
        after = page["next"]


def ask_again(run, server, answers, sent):
    """Each answer must come back as a duplicate, the same to the last digit."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    lost, changed, examples, left = 0, 0, [], dict(answers)
    with open(run.bodies.path) as lines:
        bodies = ((json.loads(line)["transaction_id"], line.strip()) for line in itertools.islice(lines, sent))
        answered = ((identity, body) for identity, body in bodies if identity in answers)
        while batch := list(itertools.islice(answered, BATCH_LEN)):
            text = '{"transactions":[' + ",".join(body for _, body in batch) + "]}"
            results = ask(connection, "POST", "/v1/decisions:batch", text)["results"]
            for (identity, _), result in zip(batch, results, strict=True):
                told, decision = left.pop(identity), result.get("decision")
                if decision is None or decision["evaluation_status"] != "duplicate":
                    lost += 1
                elif [decision["outcome"], decision.get("score") or "-", decision["evaluated_at"]] != told:
                    changed += 1
                else:
                    continue
                if len(examples) < 5:
                    examples.append({"transaction_id": identity, "told": told, "now": result.get("problem") or _short(decision)})
    connection.close()
    if left:
        raise SystemExit(f"{len(left)} recorded answers belong to no transaction that was sent, such as {next(iter(left))}")
    return lost, changed, examples


def _short(decision):
    return {key: decision.get(key) for key in ("evaluation_status", "outcome", "score", "evaluated_at")}


def judge(run, found):
    for key, text in (
        ("lost", "answered decisions were lost"),
        ("changed", "answered decisions came back changed"),
        ("missing_in_feed", "answered decisions are not in the feed"),
        ("doubled", "decisions are doubled"),
    ):
        if found[key]:
            run.fault(f"crash: {found[key]} {text}, such as {found['examples'][:1]}")
    if not found["answers"]:
        run.fault("crash: no answer was recorded, so nothing was shown")
