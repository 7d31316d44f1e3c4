#!/usr/bin/env python3
"""An hour of churn, backfill and deletions beside live traffic: memory, files and read latency must stay flat.

    cargo build --release
    tests/load/soak.py [--minutes 60] [--new-series 10000] [--out DIRECTORY] [path to rhythmite]

Starts a server of its own on loopback and sends, all at once:

  live      1,000 hosts with three fields each, every ten seconds, to database `live`
  churn     10,000 new series a minute (containers that live two minutes) to database `churn`
  backfill  a year of 50 hosts, a point every ten minutes, its days in random order, over and over, to `history`
  deletes   every 20 seconds an hour of a host of `history`, a minute of one of `live`, and DROP SERIES of a part of the
            containers, so that each is gone after a quarter of an hour

and reads all along. Every ten seconds one line of figures goes to DIRECTORY/soak.csv; at the end DIRECTORY/soak.svg shows
them, and it is judged: the last quarter against the second (the first fills caches and the year); the number of files, which
goes up and down with the merging of the year's partitions, by its largest against the second and third quarter's. Exit status 1 if
memory, files or latency grew by more than the named limits. Needs Python 3 alone.
"""
import argparse
import csv
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
LIVE_HOSTS = 1_000
HISTORY_HOSTS = 50
CONTAINER_LIFE_S = 120
PODS = 500
# How much the last quarter may lie above the second one.
LIMITS = {"rss_mib": 1.25, "files": 1.25, "read_p50_ms": 1.5, "read_p95_ms": 1.5}
QUERIES = {
    "live": "SELECT mean(idle) FROM cpu WHERE time > now() - 10m AND host = 'host{host}' GROUP BY time(1m)",
    "all": "SELECT max(idle) FROM cpu WHERE time > now() - 2m GROUP BY time(10s)",
    "churn": "SELECT count(usage) FROM container WHERE time > now() - 1m",
    "history": "SELECT mean(load) FROM month WHERE host = 'host{history}' AND time > now() - 30d GROUP BY time(1d)",
    "show": "SHOW TAG VALUES FROM cpu WITH KEY = host LIMIT 10",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--new-series", type=int, default=10_000, help="a minute")
    parser.add_argument("--sample", type=float, default=10, help="seconds between two samples")
    parser.add_argument("--out", default=".", help="directory of soak.csv and soak.svg")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", default="", help="more lines of configuration")
    parser.add_argument("binary", nargs="?", default=os.path.join(HERE, "../../target/release/rhythmite"))
    return parser.parse_args()


class Server:
    def __init__(self, binary, directory, config):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.data = os.path.join(directory, "data")
        path = os.path.join(directory, "rhythmite.toml")
        with open(path, "w") as file:
            file.write(f'data_dir = "{self.data}"\n[http]\nlisten = "127.0.0.1:{self.port}"\n')
            for room in ("carbon", "aggregator"):
                file.write(f'[{room}]\nline_listen = "off"\npickle_listen = "off"\n')
                if room == "carbon":
                    file.write('udp_listen = "off"\n')
            file.write('[statsd]\nudp_listen = "off"\ntcp_listen = "off"\nadmin_listen = "off"\n' + config + "\n")
        self.log = open(os.path.join(directory, "server.log"), "w")
        self.process = subprocess.Popen([binary, "serve", "--config", path], stdout=self.log, stderr=self.log)
        for _ in range(300):
            try:
                if self.request("GET", "/ready")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.stop()
        sys.exit("the server did not start: " + open(self.log.name).read()[-2000:])

    def request(self, method, path, body=None, connection=None):
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        own.request(method, path, body)
        answer = own.getresponse()
        text = answer.read()
        if connection is None:
            own.close()
        return answer.status, text

    def query(self, text, database="", connection=None):
        what = urllib.parse.urlencode({"q": text, "db": database})
        status, body = self.request("POST", "/query?" + what, connection=connection)
        if status != 200 or b'"error"' in body:
            raise RuntimeError(f"{status} {body[:300]}: {text}")
        return json.loads(body)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def figures(self):
        """RSS in MiB, processor seconds, files, bytes, open descriptors, and the server's own counts."""
        pid = self.process.pid
        with open(f"/proc/{pid}/status") as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        files = size = 0
        for base, _, names in os.walk(self.data):
            for name in names:
                try:
                    size += os.stat(os.path.join(base, name)).st_size
                    files += 1
                except FileNotFoundError:
                    pass
        metrics = {}
        for line in self.request("GET", "/metrics")[1].decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                metrics[name.removeprefix("rhythmite_")] = float(value)
        return {
            "rss_mib": round(rss / 1024, 1),
            "cpu_s": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
            "files": files,
            "disk_mib": round(size / 2**20, 1),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            **{name: int(metrics.get(name, 0)) for name in (
                "series", "rows_total", "deletes_waiting", "series_idle_total", "series_emptied_total", "overloaded_total",
                "background_errors_total", "compactions_total", "memtable_bytes", "wal_live_bytes")},
        }


class Load:
    """Threads that send until told to stop; each with a connection of its own."""

    def __init__(self, server, options):
        self.server, self.options = server, options
        self.over = threading.Event()
        self.latencies, self.lock = [], threading.Lock()
        self.errors = self.dropped = 0
        works = (self.live, self.churn, self.backfill, self.deletes, self.reads)
        self.threads = [threading.Thread(target=self.guard, args=(work,), daemon=True) for work in works]
        for thread in self.threads:
            thread.start()

    def guard(self, work):
        rng = random.Random(f"{self.options.seed} {work.__name__}")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        while not self.over.is_set():
            try:
                work(rng, connection)
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                if self.over.is_set():
                    return
                self.errors += 1
                print(f"{work.__name__}: {error}", file=sys.stderr, flush=True)
                connection.close()
                self.over.wait(1)

    def write(self, connection, database, lines):
        for first in range(0, len(lines), 5_000):
            body = "\n".join(lines[first:first + 5_000])
            while not self.over.is_set():
                status, text = self.server.request("POST", f"/write?db={database}&precision=s", body, connection)
                if status == 204:
                    break
                if status not in (503, 507):
                    raise RuntimeError(f"write: {status} {text[:300]}")
                self.over.wait(1)

    def live(self, rng, connection):
        now = int(time.time()) // 10 * 10
        self.write(connection, "live", [
            f"cpu,host=host{n:04d},region=r{n % 7} idle={rng.randint(0, 100)}i,system={rng.randint(0, 50)}i,"
            f"load={rng.random() * 8:.2f} {now}" for n in range(LIVE_HOSTS)])
        self.over.wait(max(0.0, now + 10 - time.time()))

    def churn(self, rng, connection):
        """Containers are born all along; each sends a point every ten seconds while it lives."""
        step = 10
        alive, born = [], 0
        begin = time.time()
        while not self.over.is_set():
            now = int(time.time())
            due = int((time.time() - begin) * self.options.new_series / 60) - born
            alive += [(now + CONTAINER_LIFE_S, f"container,id={rng.getrandbits(64):016x},pod=p{(born + n) % PODS}")
                      for n in range(due)]
            born += due
            alive = [c for c in alive if c[0] > now]
            self.write(connection, "churn", [f"{key} usage={rng.random() * 100:.1f} {now}" for _, key in alive])
            self.over.wait(max(0.0, now + step - time.time()))

    def backfill(self, rng, connection):
        today = int(time.time()) // 86_400
        days = list(range(1, 366))
        rng.shuffle(days)
        for day in days:
            start = (today - day) * 86_400
            self.write(connection, "history", [
                f"month,host=host{host} load={(start // 600 + n) % 97 / 8} {start + n * 600}"
                for host in range(HISTORY_HOSTS) for n in range(144)])
            if self.over.wait(0.5):
                return

    def deletes(self, rng, connection):
        self.over.wait(20)
        first = int(time.time()) - rng.randint(1, 365) * 86_400
        host = rng.randrange(HISTORY_HOSTS)
        self.server.query(f"DELETE FROM month WHERE host = 'host{host}' AND time >= {first}s AND time < {first + 3600}s",
                          "history", connection)
        first = int(time.time()) - rng.randint(60, 600)
        host = rng.randrange(LIVE_HOSTS)
        self.server.query(f"DELETE FROM cpu WHERE host = 'host{host:04d}' AND time >= {first}s AND time < {first + 60}s",
                          "live", connection)
        # All pods in turn, a quarter of an hour for the round: what still lives comes back at once.
        pods = [(self.dropped + n) % PODS for n in range(PODS // 45)]
        self.dropped += len(pods)
        any_of = "|".join(f"p{pod}" for pod in pods)
        self.server.query(f"DROP SERIES FROM container WHERE pod =~ /^({any_of})$/", "churn", connection)

    def reads(self, rng, connection):
        for name, text in QUERIES.items():
            database = {"churn": "churn", "history": "history"}.get(name, "live")
            query = text.format(host=f"{rng.randrange(LIVE_HOSTS):04d}", history=rng.randrange(HISTORY_HOSTS))
            begin = time.perf_counter()
            self.server.query(query, database, connection)
            with self.lock:
                self.latencies.append((name, (time.perf_counter() - begin) * 1000))
        self.over.wait(0.5)

    def take_latencies(self):
        with self.lock:
            taken, self.latencies = self.latencies, []
        return taken

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)


def percentile(values, part):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(len(values) * part))], 2) if values else 0.0


def plot(rows, path):
    """One small panel for each figure, in plain SVG."""
    panels = ["rss_mib", "files", "disk_mib", "series", "read_p50_ms", "read_p95_ms", "deletes_waiting", "cpu_share"]
    width, height, gap, columns = 420, 150, 60, 2
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * (width + gap) + gap}" '
             f'height="{(len(panels) + 1) // columns * (height + gap) + gap}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    span = max(rows[-1]["minutes"], 0.01)
    for number, name in enumerate(panels):
        left = gap + number % columns * (width + gap)
        top = gap / 2 + number // columns * (height + gap)
        high = max(row[name] for row in rows) or 1
        points = " ".join(f"{left + row['minutes'] / span * width:.1f},{top + height - row[name] / high * height:.1f}"
                          for row in rows)
        lines += [f'<text x="{left}" y="{top - 4}">{name}</text>',
                  f'<text x="{left - 4}" y="{top + 10}" text-anchor="end">{high:g}</text>',
                  f'<text x="{left - 4}" y="{top + height}" text-anchor="end">0</text>',
                  f'<text x="{left + width}" y="{top + height + 14}" text-anchor="end">{span:.0f} min</text>',
                  f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>',
                  f'<polyline points="{points}" fill="none" stroke="#2060a0" stroke-width="1.5"/>']
    with open(path, "w") as file:
        file.write("\n".join(lines + ["</svg>\n"]))


def judge(rows):
    """The last quarter of the run against the second: whether nothing grows."""
    quarter = len(rows) // 4
    if quarter < 2:
        print("too short to be judged")
        return True
    good = True
    for name, limit in LIMITS.items():
        def typical(part, name=name):
            return percentile([row[name] for row in part], 1.0 if name == "files" else 0.5)
        until = 3 if name == "files" else 2
        before, after = typical(rows[quarter:until * quarter]), typical(rows[3 * quarter:])
        ratio = after / before if before else 1.0
        fits = ratio <= limit
        good &= fits
        print(f"{name}: {before} -> {after}, times {ratio:.2f} (at most {limit}){'' if fits else ': FAILED'}")
    return good


def main():
    options = arguments()
    os.makedirs(options.out, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        server = Server(options.binary, directory, options.config)
        rows = []
        try:
            for database, length in (("live", "INF"), ("churn", "1d"), ("history", "INF")):
                server.query(f'CREATE DATABASE "{database}" WITH DURATION {length}')
            load = Load(server, options)
            begin = last = time.time()
            cpu = 0.0
            with open(os.path.join(options.out, "soak.csv"), "w", newline="") as file:
                table = None
                while time.time() < begin + options.minutes * 60:
                    time.sleep(options.sample)
                    if server.process.poll() is not None:
                        sys.exit("the server has ended: " + open(server.log.name).read()[-2000:])
                    now = time.time()
                    try:
                        figures, taken = server.figures(), load.take_latencies()
                    except (OSError, http.client.HTTPException) as error:
                        load.errors += 1
                        print(f"no sample: {error}", file=sys.stderr, flush=True)
                        continue
                    times = [ms for _, ms in taken]
                    row = {"minutes": round((now - begin) / 60, 2), **figures, "reads": len(times),
                           "read_p50_ms": percentile(times, 0.5), "read_p95_ms": percentile(times, 0.95),
                           "cpu_share": round((figures["cpu_s"] - cpu) / (now - last), 2), "errors": load.errors}
                    for name in QUERIES:
                        row[f"{name}_ms"] = percentile([ms for query, ms in taken if query == name], 0.5)
                    cpu, last = figures["cpu_s"], now
                    if table is None:
                        table = csv.DictWriter(file, row)
                        table.writeheader()
                    table.writerow(row)
                    file.flush()
                    rows.append(row)
            load.stop()
        finally:
            server.stop()
    if not rows:
        sys.exit("no sample was taken")
    plot(rows, os.path.join(options.out, "soak.svg"))
    print(f"{rows[-1]['minutes']} minutes, {rows[-1]['rows_total']} rows, {rows[-1]['cpu_s']} CPU-s, errors {rows[-1]['errors']}")
    sys.exit(0 if judge(rows) else 1)


if __name__ == "__main__":
    main()
