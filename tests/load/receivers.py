#!/usr/bin/env python3
"""CPU seconds of the receivers beside the programs they stand in for, in one run on one machine.

    cargo build --release
    tests/load/receivers.py target/release/rhythmite [--statsd-js .../statsd/stats.js] [--python PYTHON] [--only relay]

PYTHON is one in whose environment PyPI's carbon is installed; carbon-c-relay is looked for on the PATH. A peer that is not
there is said and left out. Python 3.11, standard library only; everything listens on loopback, nothing is left behind.

What is compared is user and system time of the server's process from the first byte until all is counted (flushes and
storing included), by line sent. Wall time is not: the machine may be shared. Exit status 1 if a bar is missed.
"""
import argparse
import json
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")
RESULTS, MISSED = [], []


def free_port():
    with socket.socket() as s, socket.socket(type=socket.SOCK_DGRAM) as u:
        s.bind(("127.0.0.1", 0))
        u.bind(("127.0.0.1", s.getsockname()[1]))
        return s.getsockname()[1]


class Daemon:
    """A process under measurement."""

    def __init__(self, command, folder, port):
        env = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python", "GRAPHITE_ROOT": folder,
                            "GRAPHITE_CONF_DIR": folder}
        self.log = open(os.path.join(folder, "log"), "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env)
        until = time.time() + 60
        while time.time() < until:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        with open(self.log.name) as log:
            sys.exit(f"{command[0]} does not start:\n{log.read()[-2000:]}")

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13]) / TICK

    def peak_mib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) / 1024

    def settled_cpu_s(self):
        """CPU seconds once they have stood still for a second."""
        last, since = self.cpu_s(), time.time()
        while time.time() - since < 1:
            time.sleep(0.1)
            now = self.cpu_s()
            if now - last > 0.011:
                last, since = now, time.time()
        return self.cpu_s()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Ours(Daemon):
    """A server of ours with the sections that a workload wants."""

    def __init__(self, sections):
        self.folder, self.http = tempfile.mkdtemp(), free_port()
        with open(f"{self.folder}/schemas.conf", "w") as f:
            f.write("[all]\npattern = .*\nretentions = 1s:1d\n")
        with open(f"{self.folder}/config.toml", "w") as f:
            f.write(f'data_dir = "{self.folder}/data"\n[http]\nlisten = "127.0.0.1:{self.http}"\n'
                    f'[graphite]\nstorage_schemas = "{self.folder}/schemas.conf"\n'
                    f'[self]\ninterval = "0s"\n{sections.replace("@dir@", self.folder)}\n')
        super().__init__([ARGS.server, "serve", "--config", f"{self.folder}/config.toml"], self.folder, self.http)
        while self.get("/ready", ok=False) is None:
            time.sleep(0.1)

    def get(self, path, ok=True, **query):
        url = f"http://127.0.0.1:{self.http}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as e:
            if ok:
                sys.exit(f"{url}: {e}: {e.read()[:500]}")
        except OSError:
            if ok:
                raise

    def counter(self, name):
        found = re.findall(rf"^rhythmite_{name}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics").decode(), re.M)
        return sum(float(v) for v in found)

    def sum_of(self, target, since="-10min"):
        answer = json.loads(self.get("/render", target=target, **{"from": since}, format="json"))
        return sum(v or 0 for s in answer for v, _ in s["datapoints"])

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder)


def kernel_drops(port):
    with open("/proc/net/udp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(int(r[-1]) for r in rows if int(r[1].split(":")[1], 16) == port)


def report(what, who, lines, cpu_s, **more):
    per = cpu_s / lines * 1e6
    RESULTS.append((what, who, per))
    rest = "  ".join(f"{k} {v}" for k, v in more.items())
    print(f"{what:<22} {who:<18} {lines:>9,} lines  {cpu_s:7.2f} CPU-s  {per:7.3f} CPU-s/M lines  {rest}", flush=True)
    return per


def bar(text, holds):
    print(f"    {'holds ' if holds else 'MISSED'} {text}", flush=True)
    if not holds:
        MISSED.append(text)


# ---- StatsD -----------------------------------------------------------------------------------------------------------

def packets_of(lines_of, packets, per_packet):
    return ["\n".join(lines_of(n * per_packet + i) for i in range(per_packet)).encode() for n in range(packets)]


KEYS = 10_000


def plain(n):
    """6 counters, 2 gauges, 2 timers of 10."""
    key = n * 7919 % KEYS
    if key % 10 < 6:
        return f"load.c.service{key}.requests:1|c"
    return f"load.g.service{key}.size:{n % 1000}|g" if key % 10 < 8 else f"load.t.service{key}.took:{n % 500}|ms"


def tagged(n):
    key = n * 7919 % KEYS
    return f"{plain(n)}|#env:production,region:eu-west-{key % 3},host:web-{key},version:1.2.3"


def send_udp(port, packets, pps, seconds):
    """Paces in slices of a millisecond."""
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", port))
        begun, sent, count = time.perf_counter(), 0, int(pps * seconds)
        while sent < count:
            due = min(count, int((time.perf_counter() - begun) * pps) + 1)
            while sent < due:
                s.send(packets[sent % len(packets)])
                sent += 1
            time.sleep(0.0005)


def make_keys(port, packets, per_packet):
    """Sends every key once, slowly, and waits for the flush, and for the file that is written five seconds after it: what is
    measured is what lines cost, not what new series do."""
    first = packets[:-(-KEYS // per_packet)]
    send_udp(port, first, 2_000, len(first) / 2_000)
    time.sleep(18)
    return sum(p.count(b"|c") for p in first)


def load_udp(daemon, port, packets, per_packet, pps, seconds):
    before, dropped = daemon.cpu_s(), kernel_drops(port)
    sender = multiprocessing.Process(target=send_udp, args=(port, packets, pps, seconds))
    begun = time.time()
    sender.start()
    sender.join()
    took = time.time() - begun
    time.sleep(1)
    return before, kernel_drops(port) - dropped, int(pps * seconds) * per_packet, took


def statsd_ours(what, make, dialect, pps, seconds, per_packet=30):
    port = free_port()
    ours = Ours(f'[statsd]\nudp_listen = "127.0.0.1:{port}"\ndialect = "{dialect}"\nflush_interval = 10000\n')
    try:
        packets = packets_of(make, 10_000, per_packet)
        made = make_keys(port, packets, per_packet)
        before, drops, lines, took = load_udp(ours, port, packets, per_packet, pps, seconds)
        time.sleep(12)
        cpu_s = ours.settled_cpu_s() - before
        target = "sumSeries(stats_counts.load.c.*.requests)" if make is plain else \
            "sumSeries(seriesByTag('name=~stats_counts.load.c.*'))"
        counted = ours.sum_of(target)
        sent = made + pps * seconds * sum(p.count(b"|c") for p in packets) // len(packets)
        exact = counted == sent
        per = report(what, "ours", lines - drops * per_packet, cpu_s, kernel_drops=drops, counted=f"{counted:.0f} of {sent}",
                     lines_per_s=f"{lines / took:,.0f}", peak_mib=f"{ours.peak_mib():.0f}")
        if not exact or drops:
            print("    own drops:", ours.counter("statsd_dropped_total"))
        return per, exact and drops == 0
    finally:
        ours.stop()


def statsd():
    per, exact = statsd_ours("statsd", plain, "statsd", 10_000, ARGS.seconds)
    bar("statsd: 300k lines/s in 10,000 datagrams/s, nothing dropped, counted exactly", exact)
    bar("statsd: at most 0.6 CPU-s a million lines", per <= 0.6)
    if not ARGS.statsd_js:
        return print("left out: npm statsd (--statsd-js)")
    folder, port, admin = tempfile.mkdtemp(), free_port(), free_port()
    with open(f"{folder}/config.js", "w") as f:
        f.write(f'{{ address: "127.0.0.1", port: {port}, mgmt_address: "127.0.0.1", mgmt_port: {admin}, backends: [], '
                'flushInterval: 10000 }')
    npm = Daemon(["node", ARGS.statsd_js, f"{folder}/config.js"], folder, admin)
    try:
        packets = packets_of(plain, 10_000, 30)
        make_keys(port, packets, 30)
        # What it does not lose; it flushes to nowhere, which is in its favour.
        before, drops, lines, _ = load_udp(npm, port, packets, 30, 2_500, ARGS.seconds)
        time.sleep(11)
        theirs = report("statsd", "npm statsd", lines - drops * 30, npm.settled_cpu_s() - before, kernel_drops=drops)
        bar("statsd: at most a fifth of npm statsd's CPU a line", per <= theirs / 5)
    finally:
        npm.stop()
        shutil.rmtree(folder)


def tags():
    one, exact_one = statsd_ours("dogstatsd, plain", plain, "dogstatsd", 10_000, ARGS.seconds)
    # As many lines a second; fewer fit a datagram.
    four, exact_four = statsd_ours("dogstatsd, four tags", tagged, "dogstatsd", 20_000, ARGS.seconds, 15)
    same, exact_same = statsd_ours("dogstatsd, plain by 15", plain, "dogstatsd", 20_000, ARGS.seconds, 15)
    bar("dogstatsd: counted exactly", exact_one and exact_four and exact_same)
    bar("dogstatsd: four tags cost at most 1.5 times a plain line (in datagrams of as many lines)", four <= 1.5 * same)


# ---- lines by TCP -----------------------------------------------------------------------------------------------------

def carbon_lines(count, series, name):
    now = int(time.time()) - 3600
    return [f"{name(n % series)} {n % 1000}.5 {now + n // series}\n" for n in range(count)]


def send_tcp(port, path, chunk=60_000):
    with socket.create_connection(("127.0.0.1", port)) as s, open(path, "rb") as f:
        while data := f.read(chunk):
            s.sendall(data)
        # It closes its end when it has read all.
        s.shutdown(socket.SHUT_WR)
        s.settimeout(300)
        s.recv(1)


def sink(port, counted, stop):
    """Takes what comes and counts line feeds, or bytes where there are none."""
    listening = socket.create_server(("127.0.0.1", port))
    listening.settimeout(0.2)
    connections, buffer = [], bytearray(1 << 20)
    while not stop.is_set():
        try:
            connections.append(listening.accept()[0])
            connections[-1].setblocking(False)
        except OSError:
            pass
        idle = False
        while not idle and not stop.is_set():
            idle = True
            for connection in connections:
                try:
                    n = connection.recv_into(buffer)
                except BlockingIOError:
                    continue
                except OSError:
                    n = 0
                if n:
                    idle = False
                    counted.value += buffer.count(b"\n", 0, n)
            if idle and connections:
                time.sleep(0.005)
                listening.settimeout(0.005)
                break


class Sink:
    def __init__(self):
        self.port, self.counted, self.stopping = free_port(), multiprocessing.Value("q", 0), multiprocessing.Event()
        self.process = multiprocessing.Process(target=sink, args=(self.port, self.counted, self.stopping), daemon=True)
        self.process.start()
        time.sleep(0.2)

    def stop(self):
        self.stopping.set()
        self.process.join()


def load_tcp(daemon, port, path):
    before = daemon.cpu_s()
    sender = multiprocessing.Process(target=send_tcp, args=(port, path))
    sender.start()
    sender.join()
    return before


def wait_for(counted, wanted, seconds=120):
    until = time.time() + seconds
    while counted() < wanted and time.time() < until:
        time.sleep(0.1)
    return counted()


def relay():
    folder = tempfile.mkdtemp()
    path, count = f"{folder}/lines", ARGS.lines
    with open(path, "w") as f:
        f.writelines(carbon_lines(count, 10_000, lambda n: f"servers.rack{n % 20}.host{n}.cpu.user"))
    ours_by, theirs_by = {}, {}
    has_c_relay = shutil.which("carbon-c-relay")
    try:
        for run in range(ARGS.runs):
            for hashing in (False, True):
                what = f"relay, {'carbon_ch to 2' if hashing else 'all to 1'}"
                sinks = [Sink() for _ in range(2 if hashing else 1)]
                total = lambda: sum(s.counted.value for s in sinks)
                port = free_port()
                destinations = ", ".join(f'"127.0.0.1:{s.port}:{i}"' for i, s in enumerate(sinks))
                ours = Ours(f'[relay]\nline_listen = "127.0.0.1:{port}"\ndestination_protocol = "line"\n'
                            f'destinations = [{destinations}]\n')
                before = load_tcp(ours, port, path)
                got = wait_for(total, count)
                per = report(what, "ours", count, ours.settled_cpu_s() - before, arrived=got, peak_mib=f"{ours.peak_mib():.0f}")
                ours.stop()
                bar(f"{what}: every line arrived", got == count)
                ours_by.setdefault(what, []).append(per)
                if has_c_relay:
                    arrived, port = total(), free_port()
                    members = " ".join(f"127.0.0.1:{s.port}={i}" for i, s in enumerate(sinks))
                    with open(f"{folder}/relay.conf", "w") as f:
                        f.write(f"listen type linemode 127.0.0.1:{port} proto tcp ;\n"
                                f"cluster out {'carbon_ch' if hashing else 'forward'} {members} ;\n"
                                f"match * send to out stop ;\n")
                    peer = Daemon(["carbon-c-relay", "-f", f"{folder}/relay.conf", "-q", "4000000", "-w", "2"], folder, port)
                    before = load_tcp(peer, port, path)
                    got = wait_for(lambda: total() - arrived, count)
                    theirs = report(what, "carbon-c-relay", count, peer.settled_cpu_s() - before, arrived=got)
                    theirs_by.setdefault(what, []).append(theirs)
                    peer.stop()
                [s.stop() for s in sinks]
        for what, theirs in theirs_by.items():
            mine, theirs = sorted(ours_by[what])[len(theirs) // 2], sorted(theirs)[len(theirs) // 2]
            bar(f"{what}: {mine:.3f}, not above carbon-c-relay's {theirs:.3f} CPU-s a million lines", mine <= theirs)
        if not has_c_relay:
            print("left out: carbon-c-relay")
    finally:
        shutil.rmtree(folder)


AGGREGATION = "sums.<host>.requests (10) = sum servers.<host>.*.requests\n"


def aggregator():
    folder = tempfile.mkdtemp()
    name = lambda n: f"servers.host{n // 10}.core{n % 10}.requests"
    try:
        with open(f"{folder}/aggregation-rules.conf", "w") as f:
            f.write(AGGREGATION)
        # carbon's daemon does not start without one.
        with open(f"{folder}/storage-schemas.conf", "w") as f:
            f.write("[all]\npattern = .*\nretentions = 1s:1d\n")
        port = free_port()
        ours = Ours(f'[aggregator]\nline_listen = "127.0.0.1:{port}"\nrules = "{folder}/aggregation-rules.conf"\nforward_all = false\n')
        path, count = f"{folder}/lines", ARGS.lines
        lines(path, count, name)
        before = load_tcp(ours, port, path)
        wait_for(lambda: ours.counter("aggregator_points_total"), count)
        time.sleep(12)
        cpu_s = ours.settled_cpu_s() - before
        got, want = ours.sum_of("sumSeries(sums.*.requests)", "-2h"), sum(n % 1000 + 0.5 for n in range(count))
        per = report("aggregator", "ours", count, cpu_s, sum_of_sums=f"{got:.1f} of {want:.1f}")
        bar("aggregator: the sums are right", abs(got - want) < 1e-6 * want)
        ours.stop()
        script = os.path.join(os.path.dirname(shutil.which(ARGS.python) or ""), "carbon-aggregator.py")
        if not os.path.exists(script):
            return print("left out: carbon-aggregator (--python)")
        count //= 10
        lines(path, count, name)
        out, port = Sink(), free_port()
        with open(f"{folder}/carbon.conf", "w") as f:
            f.write(f"[aggregator]\nUSER =\nLOG_DIR = {folder}\nSTORAGE_DIR = {folder}\nCONF_DIR = {folder}\nPID_DIR = {folder}\n"
                    f"LINE_RECEIVER_INTERFACE = 127.0.0.1\nLINE_RECEIVER_PORT = {port}\nPICKLE_RECEIVER_INTERFACE = 127.0.0.1\n"
                    f"PICKLE_RECEIVER_PORT = {free_port()}\nFORWARD_ALL = False\nDESTINATIONS = 127.0.0.1:{out.port}\n"
                    "MAX_QUEUE_SIZE = 1000000\nLOG_AGGREGATOR_MISSES = False\n")
        peer = Daemon([ARGS.python, script, "--nodaemon", "--config", f"{folder}/carbon.conf", "start"], folder, port)
        before = load_tcp(peer, port, path)
        time.sleep(12)
        theirs = report("aggregator", "carbon-aggregator", count, peer.settled_cpu_s() - before)
        peer.stop()
        out.stop()
        bar("aggregator: at most a twentieth of carbon-aggregator's CPU a line", per <= theirs / 20)
    finally:
        shutil.rmtree(folder)


def lines(path, count, name):
    with open(path, "w") as f:
        f.writelines(carbon_lines(count, 10_000, name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--statsd-js", help="stats.js of npm statsd")
    parser.add_argument("--python", default=sys.executable, help="a Python that has carbon")
    parser.add_argument("--only", default="statsd,tags,relay,aggregator")
    parser.add_argument("--seconds", type=int, default=10, help="of each StatsD load")
    parser.add_argument("--lines", type=int, default=2_000_000, help="of each load by TCP")
    parser.add_argument("--runs", type=int, default=3, help="of the relays; the medians are compared")
    ARGS = parser.parse_args()
    for part in ARGS.only.split(","):
        {"statsd": statsd, "tags": tags, "relay": relay, "aggregator": aggregator}[part]()
    print(f"{len(MISSED)} bars missed")
    sys.exit(bool(MISSED))
