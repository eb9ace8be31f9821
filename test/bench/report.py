#!/usr/bin/env python3
"""Print the results as Markdown tables: report.py [results.jsonl ...]; cells are `median (lowest)` of the runs."""
import collections
import json
import pathlib
import statistics
import sys

files = sys.argv[1:] or [pathlib.Path(__file__).with_name("results.jsonl")]
rows = [json.loads(line) for f in files for line in open(f)]
ORDER = ["bare", "eb", "eb:lease", "eb:send", "eb:fifo", "eb:webhooks", "naive", "pgmq", "pgmq:pop", "pgmq:archive", "pgmq:fan5sends",
         "pgq", "pgq:trigger"]
TITLE = {r["system"]: r["title"] for r in rows}
systems = sorted(TITLE, key=lambda s: (ORDER.index(s) if s in ORDER else 99, s))


def pick(section, system, **cell):
    """The results of a cell, the latest of each run number."""
    found = {}
    for r in rows:
        if r["section"] == section and r["system"] == system and all(r.get(k) == v for k, v in cell.items()):
            found[r["run"]] = r["result"]
    return list(found.values())


def num(x):
    if x >= 100000:
        return f"{x / 1000:.0f}k"
    if x >= 10000:
        return f"{x / 1000:.1f}k"
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}"


def med(values, form=num):
    values = list(values)
    if not values:
        return "–"
    m = form(statistics.median(values))
    return m if len(values) == 1 else f"{m} ({form(min(values))})"


def table(head, body):
    body = [b for b in body if any(c not in ("–", "") for c in b[1:])]
    if not body:
        return
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for b in body:
        print("| " + " | ".join(b) + " |")
    print()


def enqueue(sync):
    cells = [(1, 1), (4, 1), (16, 1), (1, 100), (4, 100)]
    table(["system", "1 client, 1 per tx", "4 clients", "16 clients", "batch 100, 1 client", "batch 100, 4 clients", "WAL B/msg, single", "WAL B/msg, batch 100"],
          [[TITLE[s]] + [med(r["produce"]["rate"] for r in pick("enqueue", s, sync=sync, clients=c, batch=b)) for c, b in cells]
           + [med((r["wal_bytes"] / r["produce"]["messages"] for r in pick("enqueue", s, sync=sync, clients=4, batch=b)), lambda x: f"{x:.0f}") for b in (1, 100)]
           for s in systems])


def consume(sync):
    cells = [(c, b) for b in (1, 10, 100) for c in (1, 4, 16)]
    table(["system"] + [f"batch {b}, {c} cons." for c, b in cells],
          [[TITLE[s]] + [med(r["consume"]["rate"] for r in pick("consume", s, sync=sync, clients=c, batch=b)) for c, b in cells]
           for s in systems])


def ms(us):
    return f"{us / 1000:.2f}" if us < 10000 else f"{us / 1000:.0f}"


def steady(sync):
    table(["system", "produced/s", "consumed/s", "e2e p50 ms", "e2e p99 ms", "WAL B/msg"],
          [[TITLE[s], med(r["produce"]["rate"] for r in x), med(r["consume"]["rate"] for r in x),
            med((r["consume"]["e2e_us"]["p50"] for r in x), ms), med((r["consume"]["e2e_us"]["p99"] for r in x), ms),
            med((r["wal_bytes"] / r["produce"]["messages"] for r in x), lambda v: f"{v:.0f}")]
           for s in systems for x in [pick("steady", s, sync=sync)]])


def latency(sync):
    modes = collections.OrderedDict()
    for r in rows:
        if r["section"] == "latency" and r.get("sync") == sync:
            modes[(r["system"], r["mode"])] = r["mode_title"]
    keys = sorted(modes, key=lambda k: (ORDER.index(k[0]) if k[0] in ORDER else 99))
    table(["system", "consume loop", "p50 ms", "p90 ms", "p99 ms", "send call p50 ms", "WAL B/msg", "server CPU %"],
          [[TITLE[s], modes[(s, m)], *(med((r["consume"]["e2e_us"][p] for r in x), ms) for p in ("p50", "p90", "p99")),
            med((r["produce"]["call_us"]["p50"] for r in x), ms),
            med((r["wal_bytes"] / r["produce"]["messages"] for r in x), lambda v: f"{v:.0f}"),
            med((100 * r["cpu"]["server"] / r["cpu"]["wall"] for r in x), lambda v: f"{v:.0f}")]
           for s, m in keys for x in [pick("latency", s, sync=sync, mode=m)]])


def window(r, role, a, b):
    v = r[role]["per_second"][:60]
    v = v + [[0, 0]] * (60 - len(v))
    return sum(x[0] for x in v[a:b]) / (b - a)


def bloat(sync):
    body = []
    for s in systems:
        for held in (False, True):
            x = pick("bloat", s, sync=sync, snapshot_held=held)
            if not x:
                continue
            f = lambda role, a, b: med(window(r, role, a, b) for r in x)
            call = lambda a, b: med((statistics.mean(p[1] for p in r["consume"]["per_second"][a:b] or [[0, 0]]) for r in x), ms)
            body.append([TITLE[s], "held" if held else "none", f("produce", 0, 10), f("produce", 50, 60), f("consume", 0, 10), f("consume", 50, 60),
                         call(0, 10), call(50, 60),
                         med((r["produce"]["messages"] - r["consume"]["messages"] for r in x), lambda v: f"{v:.0f}"),
                         med(r["sizes"]["dead"] for r in x), med((r["sizes"]["bytes"] / 1048576 for r in x), lambda v: f"{v:.0f}")])
    table(["system", "old snapshot", "produce/s first 10 s", "last 10 s", "consume/s first 10 s", "last 10 s", "receive call ms first 10 s", "last 10 s", "backlog at end", "dead tuples", "tables + indexes MiB"], body)


def fanout(sync):
    body = []
    for s in systems:
        x1, x4, w = (pick("fanout", s, sync=sync, clients=1), pick("fanout", s, sync=sync, clients=4), pick("fanout_wal", s, sync=sync))
        per = lambda v: f"{v:.0f}"
        read = [r for r in w if r["consume_all"].get("messages")]
        body.append([TITLE[s], med(r["produce"]["rate"] for r in x1), med(r["produce"]["rate"] for r in x4),
                     med((r["wal_bytes"] / r["produce"]["messages"] for r in w), per),
                     med(((r["wal_bytes"] + r["consume_all"]["wal_bytes"]) / r["produce"]["messages"] for r in read), per),
                     med((r["consume_all"]["messages"] / r["produce"]["messages"] for r in read), lambda v: f"{v:.2f}")])
    table(["system", "events/s, 1 client", "events/s, 4 clients", "WAL B/event, publish", "WAL B/event, publish and all 5 reads", "deliveries per event"], body)


def wal():
    body = []
    for s in systems:
        c = []
        for sb, rb in ((1, 1), (1, 10), (1, 100), (100, 100)):
            x = pick("wal", s, send_batch=sb, receive_batch=rb)
            p = [r["produce_wal_bytes"] / r["produce"]["messages"] for r in x]
            q = [r["wal_bytes"] / max(1, r["consume"]["messages"]) for r in x]
            c.append("–" if not x else f"{statistics.median(p):.0f} + {statistics.median(q):.0f} = {statistics.median(a + b for a, b in zip(p, q)):.0f}")
        body.append([TITLE[s]] + c)
    table(["system", "send 1, receive 1", "send 1, receive 10", "send 1, receive 100", "send 100, receive 100"], body)


def main():
    for sync in ("on", "off"):
        for name, f in (("Enqueue, messages/s", enqueue), ("Consume, messages/s", consume),
                        ("Steady produce and consume, 4 + 4 clients", steady), ("Latency at 500 messages/s", latency),
                        ("Old snapshot for 60 s, 2 + 2 clients", bloat), ("Fan-out 1 to 5", fanout)):
            if any(r.get("sync") == sync and r["section"] == f.__name__ for r in rows):
                print(f"### {name}, synchronous_commit = {sync}\n")
                f(sync)
    print("### WAL bytes per message, produce + consume\n")
    wal()
    c = [r["result"]["produce"]["rate"] for r in rows if r["section"] == "copy"]
    print(f"COPY of the same events into the bare table: {med(c)} rows/s\n")
    worst = [r["result"]["cpu"]["foreign_percent"] for r in rows]
    print(f"{len(rows)} runs; CPU used by other processes during a run: median {statistics.median(worst):.1f} %, "
          f"{sum(w > 8 for w in worst)} runs above 8 %.")


main()
