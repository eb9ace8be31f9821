"""What the benchmark commands share: systems, throw-away databases, runs of the driver, CPU and WAL figures.

A system is a file systems/NAME.ini.  Every run gets a new database made from a template that has the system installed,
so no run sees the bloat of another.  A command that imports this runs beside a cluster made for measuring: it starts
itself again under with-cluster if it has none.

Environment: BENCH_HOME (the cluster's directory and socket), BENCH_PORT, PGBIN, QDRIVE (set by with-cluster); PEERS_DIR
(SQL files of the peers), BENCH_LOCK (a file: held with flock while a run is timed, optional), BENCH_PATIENCE (seconds to
wait for an idle machine before a run, default 60; 0: do not wait and do not repeat disturbed runs, for a first look).
"""
import configparser
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
if "BENCH_HOME" not in os.environ and not {"-h", "--help"} & set(sys.argv):
    os.execv(HERE / "with-cluster", ["with-cluster", sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
HOME = os.environ.get("BENCH_HOME", "")
PORT = os.environ.get("BENCH_PORT", "5432")
PSQL = os.path.join(os.environ.get("PGBIN", ""), "psql")
QDRIVE = os.environ.get("QDRIVE", HOME + "/qdrive")
PEERS = pathlib.Path(os.environ.get("PEERS_DIR", HERE / "peers"))
TICK = os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count()


_database = "bench"


@contextlib.contextmanager
def database(name):
    """Runs in the block take place in this database; two systems can be measured in turn on databases that both stay."""
    global _database
    before, _database = _database, name
    try:
        yield
    finally:
        _database = before


def psql(sql, db=None, check=True, extra=()):
    r = subprocess.run(
        [PSQL, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", HOME, "-p", PORT,
         "-U", "postgres", "-d", db or _database, *extra], input=sql, text=True, capture_output=True)
    if check and r.returncode:
        sys.exit(f"psql failed: {r.stderr}\n{sql}")
    return r.stdout.strip()


def conninfo():
    return f"host={HOME} port={PORT} user=postgres dbname={_database}"


class System:
    def __init__(self, spec):
        name, _, variant = spec.partition(":")
        self.spec, self.name, self.variant = spec, name, variant
        ini = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";",))
        ini.read(HERE / "systems" / f"{name}.ini")
        self.v = dict(ini["system"])
        if variant:
            self.v.update(ini[f"variant:{variant}"])
        self.latency = {k: dict(ini[f"latency:{k}"]) for k in self.v.get("latency", "").split()}

    def __getitem__(self, key):
        return self.v.get(key, "")

    @property
    def log_style(self):
        return self["style"] == "log"

    def template(self):
        """Build the template database once per process."""
        db = "tpl_" + self.spec.replace(":", "_")
        psql(f'drop database if exists {db} with (force);\ncreate database {db};', "postgres")
        for f in self["files"].split():
            psql("", db, extra=("--single-transaction", "-f", str(PEERS / f)))
        if self["install"]:
            psql(self["install"], db)
        self.v["version_text"] = psql(self["version"], db).splitlines()[-1] if self["version"] else ""
        return db

    def shards(self, consumers):
        return max(consumers, 1) if self["shard_by_consumer"] else 1

    def fresh(self, sync="on", queues=1, consumers=1):
        if not hasattr(self, "db"):
            self.db = self.template()
        psql(f"drop database if exists {_database} with (force);", "postgres")
        psql(f"create database {_database} template {self.db};", "postgres")
        psql(f"alter database {_database} set synchronous_commit = {sync};", "postgres")
        for q in range(queues):
            if self["queue"]:
                psql(self["queue"].replace("%q", f"bench{q}"))
        for q in range(queues):
            if self["consumer"]:
                for c in range(consumers):
                    psql(self["consumer"].replace("%q", f"bench{q}").replace("%c", str(c)))

    def consume_args(self, over=None):
        get = {**self.v, **(over or {})}
        if self.log_style:
            return ["--open", get["open"], "--events", get["events"], "--finish", get["finish"]]
        a = ["--receive", get["receive"]]
        return a + ["--ack", get["ack"]] if get.get("ack") else a

    def send_args(self, batch=1, fanout=False):
        """Arguments of the driver for sending: statement, size of the batch, shape of the event."""
        kind = ("fanout_" if fanout else "") + ("send_batch" if batch > 1 else "send")
        a = ["--send-batch", batch, "--send", self[kind]]
        if self[kind + "_shape"]:
            a += ["--shape", self[kind + "_shape"]]
        if batch > 1 and self["json_batch"]:
            a += ["--json-batch"]
        return a


def cpu_busy():
    v = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    return (sum(v[:8]) - v[3] - v[4]) / TICK


def postmaster():
    return int(open(f"{HOME}/data/postmaster.pid").readline())


def clients_are_gone():
    """
    Wait until no client's backend is left.  One that ends between the look at the postmaster, which inherits its CPU time, and the
    look at the backend itself would be in neither.
    """
    pm = postmaster()
    end = time.time() + 10
    while time.time() < end:
        left = 0
        for d in os.listdir("/proc"):
            if d.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    if int(open(f"/proc/{d}/stat").read().rsplit(")", 1)[1].split()[1]) == pm:
                        title = open(f"/proc/{d}/cmdline").read()
                        left += title == "" or "[local]" in title
        if left == 0:
            return
        time.sleep(0.01)


def cpu_of_cluster():
    """CPU seconds of the cluster's processes, the finished ones included.  Call clients_are_gone() before."""
    pm = postmaster()
    total = 0
    for d in os.listdir("/proc"):
        if d.isdigit():
            with contextlib.suppress(OSError, IndexError):
                f = open(f"/proc/{d}/stat").read().rsplit(")", 1)[1].split()
                if int(d) == pm:
                    total += sum(int(x) for x in f[11:15])
                elif int(f[1]) == pm:
                    total += int(f[11]) + int(f[12])
    return total / TICK


def children_cpu():
    t = os.times()
    return t.children_user + t.children_system


@contextlib.contextmanager
def machine():
    """Hold the lock and wait until nobody else is computing."""
    path = os.environ.get("BENCH_LOCK")
    f = open(path, "a") if path else None
    if f:
        fcntl.flock(f, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if f:
            f.close()
            time.sleep(0.05)


PATIENCE = int(os.environ.get("BENCH_PATIENCE", "60"))


def undisturbed(cell, tries=3, limit=8):
    """Run a cell; again if other processes took more than limit % of the machine meanwhile."""
    best = None
    tries = tries if PATIENCE else 1
    for attempt in range(1, tries + 1):
        with machine():
            out = cell()
        out["cpu"]["attempt"] = attempt
        if best is None or out["cpu"]["foreign_percent"] < best["cpu"]["foreign_percent"]:
            best = out
        if best["cpu"]["foreign_percent"] <= limit:
            break
    return best


def wait_idle():
    end = time.time() + PATIENCE
    while time.time() < end:
        b = cpu_busy()
        time.sleep(0.5)
        if cpu_busy() - b < 0.1 * CPUS * 0.5:
            return True
    return False


def lsn():
    return int(psql("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def drive(*args, sync="on"):
    """One run of the driver; returns its result with WAL and CPU figures."""
    idle = wait_idle()
    clients_are_gone()
    l0 = lsn()
    clients_are_gone()
    busy0, mine0, kids0, t0 = cpu_busy(), cpu_of_cluster(), children_cpu(), time.time()
    r = subprocess.run([QDRIVE, "--conninfo", conninfo(), *map(str, args)], text=True, capture_output=True)
    wall = time.time() - t0
    clients_are_gone()
    kids1, mine1, busy1, l1 = children_cpu(), cpu_of_cluster(), cpu_busy(), lsn()
    if r.returncode:
        sys.exit(f"qdrive failed: {r.stderr}")
    if r.stderr:
        print("   qdrive said:", r.stderr.strip()[:300])
    out = json.loads(r.stdout)
    out["wal_bytes"] = l1 - l0
    out["cpu"] = {
        "wall": round(wall, 2), "client": round(kids1 - kids0, 2), "server": round(mine1 - mine0, 2),
        "foreign_percent": round(100 * max(0, busy1 - busy0 - (mine1 - mine0) - (kids1 - kids0)) / (wall * CPUS), 1),
        "started_idle": idle}
    return out


def fill(s, n, consumers, batch=None):
    """Put n messages in, fast, before a timed run."""
    shards = s.shards(consumers)
    a = ["--shards", shards, "--producers", shards, "--count", n, "--duration", 120]
    if s.log_style:
        b = batch or 500
        for q in range(shards):
            psql(s["batch_size_setup"].replace("%q", f"bench{q}").replace("%b", str(b)))
        a += ["--after-send", s["tick_queue"], *s.send_args(b)]
    else:
        a += s.send_args(100)
    psql("alter database bench set synchronous_commit = off;")
    r = subprocess.run([QDRIVE, "--conninfo", conninfo(), *map(str, a)], text=True, capture_output=True)
    if r.returncode or json.loads(r.stdout)["produce"]["messages"] != n:
        sys.exit(f"fill failed: {r.stderr} {r.stdout}")


def sizes():
    return json.loads(psql("""
      select json_build_object('dead', (select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables),
        'live', (select coalesce(sum(n_live_tup), 0) from pg_stat_user_tables),
        'bytes', (select coalesce(sum(pg_total_relation_size(relid)), 0) from pg_stat_user_tables),
        'heap_bytes', (select coalesce(sum(pg_relation_size(relid)), 0) from pg_stat_user_tables),
        'autovacuums', (select coalesce(sum(autovacuum_count), 0) from pg_stat_user_tables),
        'top', (select json_agg(t) from (select schemaname || '.' || relname as name, n_dead_tup as dead,
                 pg_total_relation_size(relid) as bytes from pg_stat_user_tables
                 order by pg_total_relation_size(relid) desc limit 3) t))"""))
