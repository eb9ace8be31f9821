#!/usr/bin/env python3
"""Run one section of the comparison for some systems and append the raw results.

    bench.py SECTION [SYSTEM[:VARIANT] ...] [--sync on|off] [--runs N] [--seconds S] [--quick]

Sections: limits enqueue consume steady latency bloat fanout wal.  A system is a file systems/NAME.ini.
Each result is one JSON line in $BENCH_RESULTS (default results.jsonl here); report.py makes tables of them.
The environment is described in harness.py.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from harness import (CPUS, HERE, HOME, PORT, PSQL, QDRIVE, System, children_cpu, clients_are_gone, cpu_busy, cpu_of_cluster, drive, fill, lsn, psql,
                     sizes, undisturbed, wait_idle)

RESULTS = pathlib.Path(os.environ.get("BENCH_RESULTS", HERE / "results.jsonl"))


def save(s, section, cell, run, out, **extra):
    rec = {"at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
           "section": section, "system": s.spec, "title": s["title"], "version": s["version_text"],
           **cell, "run": run, **extra, "result": out}
    for role in ("produce", "consume"):
        if section not in ("bloat",) and role in out:
            out[role].pop("per_second", None)
    with open(RESULTS, "a") as f:
        f.write(json.dumps(rec) + "\n")
    parts = []
    for role in ("produce", "consume"):
        if role in out:
            o = out[role]
            parts.append(f"{role} {o['messages']} in {o['elapsed']} s = {o['rate']:.0f}/s"
                         + (f" errors {o['errors']}" if o["errors"] else ""))
            if "e2e_us" in o:
                parts.append(f"e2e p50 {o['e2e_us']['p50'] / 1000:.2f} p99 {o['e2e_us']['p99'] / 1000:.2f} ms")
    n = max((out[r]["messages"] for r in ("produce", "consume") if r in out), default=0)
    if n:
        parts.append(f"WAL {out['wal_bytes'] / n:.0f} B/msg")
    parts.append(f"foreign CPU {out['cpu']['foreign_percent']}%")
    print(f"{section} {s.spec} {cell} run {run}: " + ", ".join(parts), flush=True)


def enqueue(s, a, run):
    cells = [(1, 1), (4, 1), (16, 1), (1, 100), (4, 100)]
    for clients, batch in cells:
        def cell():
            s.fresh(a.sync)
            psql("checkpoint")
            return drive("--producers", clients, "--duration", a.seconds, *s.send_args(batch))

        out = undisturbed(cell)
        save(s, "enqueue", {"sync": a.sync, "clients": clients, "batch": batch}, run, out)


def consume(s, a, run):
    for batch in [int(b) for b in a.batches.split(",")]:
        for clients in [int(c) for c in a.clients.split(",")]:
            n = 20000 if s.log_style and batch == 1 else 200000

            def cell():
                shards = s.shards(clients)
                s.fresh(a.sync, queues=shards, consumers=clients)
                psql("checkpoint")
                fill(s, n, clients, batch)
                psql(f"alter database bench set synchronous_commit = {a.sync};")
                psql("vacuum analyze")
                return drive("--consumers", clients, "--shards", shards, "--receive-batch", batch,
                             "--drain", "--duration", a.seconds, *s.consume_args())

            out = undisturbed(cell)
            save(s, "consume", {"sync": a.sync, "clients": clients, "batch": batch}, run, out)


def ticker_args(s, over=None):
    get = {**s.v, **(over or {})}
    if not get.get("ticker"):
        return []
    return ["--ticker", get["ticker"], "--ticker-ms", get["ticker_ms"]]


def steady(s, a, run):
    """4 producers, one row per send, and 4 consumers, batch 10, at full speed."""

    def cell():
        shards = s.shards(4)
        s.fresh(a.sync, queues=shards, consumers=4)
        psql("checkpoint")
        return drive("--producers", 4, "--consumers", 4, "--shards", shards, "--receive-batch", 10,
                     "--poll-ms", 1, "--duration", a.seconds, "--e2e", *s.send_args(),
                     *s.consume_args(), *ticker_args(s))

    out = undisturbed(cell)
    save(s, "steady", {"sync": a.sync}, run, out)


def latency(s, a, run):
    """500 events/s from 4 producers, 4 consumers, the end-to-end latency."""
    for name, over in s.latency.items():
        def cell():
            # a log-style queue has one cursor: one consumer keeps up with 500 events/s
            consumers = 1 if s.log_style else 4
            s.fresh(a.sync, consumers=consumers)
            if over.get("setup"):
                psql(over["setup"])
            psql("checkpoint")
            return drive("--producers", 4, "--consumers", consumers, "--receive-batch", 10,
                         "--poll-ms", over["poll_ms"], "--duration", a.seconds, "--grace", 4, "--rate", 500,
                         "--e2e", *s.send_args(), *(["--send", over["send"]] if "send" in over else []),
                         *(["--listen", over["listen"]] if "listen" in over else []),
                         *s.consume_args(over), *ticker_args(s, over))

        out = undisturbed(cell)
        save(s, "latency", {"sync": a.sync, "mode": name, "mode_title": over["title"]}, run, out)


def bloat(s, a, run):
    """2 producers and 2 consumers at full speed for 60 s, with and without an old snapshot."""
    for held in ([True, False] if not a.quick else [True]):
        def cell():
            shards = s.shards(2)
            s.fresh(a.sync, queues=shards, consumers=2)
            psql("checkpoint")
            holder = None
            if held:
                holder = subprocess.Popen([PSQL, "-X", "-q", "-A", "-t", "-h", HOME, "-p", PORT, "-U", "postgres", "-d", "bench"],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                holder.stdin.write("begin isolation level repeatable read;\nselect txid_current_snapshot();\n")
                holder.stdin.flush()
                holder.stdout.readline()
            out = drive("--producers", 2, "--consumers", 2, "--shards", shards, "--receive-batch", 10,
                        "--poll-ms", 1, "--duration", 60, "--e2e", *s.send_args(),
                        *s.consume_args(), *ticker_args(s))
            time.sleep(1)
            out["sizes"] = sizes()
            if holder:
                holder.stdin.close()
                holder.wait()
            return out

        out = undisturbed(cell)
        save(s, "bloat", {"sync": a.sync, "snapshot_held": held}, run, out)


def fanout(s, a, run):
    """One event to five receivers: publish only, then all five read it."""
    def make():
        s.fresh(a.sync, queues=int(s["fanout_queues"]), consumers=1)
        if s["fanout_setup"]:
            psql(s["fanout_setup"])
        psql("checkpoint")

    for clients in (1, 4):
        def cell():
            make()
            return drive("--producers", clients, "--duration", a.seconds, *s.send_args(fanout=True))

        save(s, "fanout", {"sync": a.sync, "clients": clients}, run, undisturbed(cell))

    def life():
        """WAL of the whole life of 10000 events, read by five consumers in batches of about 100."""
        make()
        over, ticks = {}, []
        if s.log_style:
            psql(s["batch_size_setup"].replace("%q", "bench0").replace("%b", "100"))
            over["open"] = s["fanout_open"]
            ticks = ["--ticker", s["ticker"], "--ticker-ms", 10]
        out = drive("--producers", 4, "--count", 10000, "--duration", 60, *s.send_args(fanout=True), *ticks)
        if s.log_style:
            psql(s["batch_size_setup"].replace("%q", "bench0").replace("%b", "1"))
            psql(s["tick_queue"].replace("%q", "bench0"))
        read = drive("--consumers", 5, "--shards", s["fanout_queues"], "--receive-batch", 100, "--drain",
                     "--duration", 60, *s.consume_args(over))
        out["consume_all"] = {"messages": read["consume"]["messages"], "wal_bytes": read["wal_bytes"]}
        return out

    save(s, "fanout_wal", {"sync": a.sync}, run, undisturbed(life))


def wal(s, a, run):
    """WAL bytes of 20000 messages from send to ack, no full-page images of old pages."""
    for sb, rb in ((1, 1), (1, 10), (1, 100), (100, 100)):
        def cell():
            n = 20000
            s.fresh(a.sync)
            psql("checkpoint")
            send = s.send_args(sb)
            if s.log_style:
                # the tick that closes a batch of rb messages belongs to the cost
                psql(s["batch_size_setup"].replace("%q", "bench0").replace("%b", str(rb)))
                produced = drive("--producers", 1, "--count", n, "--duration", 120, *send, "--after-send", s["tick_queue"])
            else:
                produced = drive("--producers", 4, "--count", n, "--duration", 120, *send)
            out = drive("--consumers", 1, "--receive-batch", rb, "--drain", "--duration", 120, *s.consume_args())
            out["produce"] = produced["produce"]
            out["produce_wal_bytes"] = produced["wal_bytes"]
            return out

        save(s, "wal", {"send_batch": sb, "receive_batch": rb}, run, undisturbed(cell))


def limits(s, a, run):
    """COPY of 500000 events into the bare table, from the client."""
    lines = subprocess.run([QDRIVE, "--emit", "500000"], capture_output=True, text=True).stdout

    def cell():
        s.fresh(a.sync)
        psql("checkpoint")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write(lines)
            f.flush()
            wait_idle()
            l0 = lsn()
            clients_are_gone()
            busy0, mine0, kids0, t0 = cpu_busy(), cpu_of_cluster(), children_cpu(), time.time()
            psql(f"\\copy bare (payload) from '{f.name}'")
            wall = time.time() - t0
            clients_are_gone()
            kids1, mine1, busy1, l1 = children_cpu(), cpu_of_cluster(), cpu_busy(), lsn()
        return {"wal_bytes": l1 - l0,
                "produce": {"messages": 500000, "elapsed": round(wall, 3), "rate": 500000 / wall, "errors": 0},
                "cpu": {"wall": round(wall, 2), "foreign_percent": round(100 * max(0, busy1 - busy0 - (mine1 - mine0) - (kids1 - kids0)) / (wall * CPUS), 1)}}

    save(s, "copy", {"sync": a.sync}, run, undisturbed(cell))


SECTIONS = {f.__name__: f for f in (enqueue, consume, steady, latency, bloat, fanout, wal, limits)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("section", choices=SECTIONS)
    p.add_argument("systems", nargs="*")
    p.add_argument("--sync", default="on")
    p.add_argument("--runs", type=int, default=1)
    p.add_argument("--first-run", type=int, default=1)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--batches", default="1,10,100")
    p.add_argument("--clients", default="1,4,16")
    p.add_argument("--quick", action="store_true")
    a = p.parse_args()
    names = a.systems or sorted(f.stem for f in (HERE / "systems").glob("*.ini"))
    systems = [System(n) for n in names]
    systems = [s for s in systems if not s["sections"] or a.section in s["sections"].split()]
    for run in range(a.first_run, a.first_run + a.runs):
        for s in systems:
            SECTIONS[a.section](s, a, run)


main()
