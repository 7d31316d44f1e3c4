#!/usr/bin/env python3
"""What a server must live through at full size, while somebody else is served. CI has the same at a small one
(tests/it/receivers.rs, tests/it/limits.rs, compat/*/tests/fuzz.rs).

    cargo build --release
    tests/load/survive.py target/release/rhythmite [--names 1000000] [--idle 10000]

Python 3.11, standard library only; everything listens on loopback, nothing is left behind. Exit status 1 if something
that must hold does not.
"""
import argparse
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("server")
parser.add_argument("--names", type=int, default=1_000_000, help="new names within a minute")
parser.add_argument("--limit", type=int, default=50_000, help="series that are allowed")
parser.add_argument("--idle", type=int, default=10_000, help="connections that say nothing")
parser.add_argument("--rss-mib", type=int, default=700, help="memory that must do")
ARGS = parser.parse_args()
FAILED = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def must(text, holds):
    print(f"{'holds ' if holds else 'FAILED'} {text}", flush=True)
    if not holds:
        FAILED.append(text)


folder = tempfile.mkdtemp()
http, line, pickle, statsd, collectd = (free_port() for _ in range(5))
with open(f"{folder}/config.toml", "w") as f:
    f.write(f'''data_dir = "{folder}/data"
[http]
listen = "127.0.0.1:{http}"
[carbon]
line_listen = "127.0.0.1:{line}"
pickle_listen = "127.0.0.1:{pickle}"
[statsd]
tcp_listen = "127.0.0.1:{statsd}"
udp_listen = "127.0.0.1:{statsd}"
flush_interval = 1000
max_keys = {ARGS.limit}
[collectd]
udp_listen = "127.0.0.1:{collectd}"
[limits]
series = {ARGS.limit}
connections = {ARGS.idle + 1_000}
[self]
interval = "0s"
''')
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
log = open(f"{folder}/log", "wb")
server = subprocess.Popen([ARGS.server, "serve", "--config", f"{folder}/config.toml"], stdout=log, stderr=log)


def get(path, **query):
    with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        return answer.read().decode()


def counter(name):
    return sum(float(v) for v in re.findall(rf"^rhythmite_{name}(?:{{[^}}]*}})? (\S+)$", get("/metrics"), re.M))


def memory(what="VmRSS"):
    with open(f"/proc/{server.pid}/status") as f:
        return int(re.search(rf"{what}:\s+(\d+)", f.read())[1]) // 1024


def send(port, data):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(data)


def served(what):
    """A point of somebody else is seen; says how long that took."""
    now, begun = int(time.time()) // 60 * 60, time.time()
    value = begun % 1000
    send(line, f"good.sender {value} {now}\n".encode())
    while time.time() - begun < 20:
        answer = json.loads(get("/render", target="good.sender", format="json", **{"from": "-5min"}))
        if answer and any(v is not None and abs(v - value) < 1e-6 for v, _ in answer[0]["datapoints"]):
            took = time.time() - begun
            must(f"{what}: another sender's point is seen after {took * 1000:.0f} ms", took < 5)
            return
        time.sleep(0.01)
    must(f"{what}: another sender's point is seen", False)


try:
    while True:
        try:
            get("/ready")
            break
        except OSError:
            if server.poll() is not None:
                sys.exit(open(f"{folder}/log").read())
            time.sleep(0.1)
    served("at rest")
    at_rest = memory()
    print(f"       {at_rest} MiB")

    idle = [socket.create_connection(("127.0.0.1", (line, pickle, statsd)[n % 3])) for n in range(ARGS.idle)]
    time.sleep(2)
    open_now = counter("connections_open")
    must(f"{ARGS.idle} idle connections: {open_now:.0f} are open", open_now >= ARGS.idle)
    served("idle connections")
    print(f"       {memory()} MiB, {(memory() - at_rest) * 1024 / max(1, ARGS.idle):.1f} KiB a connection")

    stop = threading.Event()

    def dribble():
        """A hundred connections of which each sends a byte in a tenth of a second."""
        slow = [socket.create_connection(("127.0.0.1", (line, pickle, statsd)[n % 3])) for n in range(99)]
        n = 0
        while not stop.wait(0.1):
            for i, s in enumerate(slow):
                try:
                    s.send((b"slow.line", b"\0\0\x10\0(", b"slow.line")[i % 3][n % 5:n % 5 + 1])
                except OSError:
                    slow[i] = socket.create_connection(("127.0.0.1", (line, pickle, statsd)[i % 3]))
            n += 1

    dribbling = threading.Thread(target=dribble)
    dribbling.start()
    time.sleep(3)
    served("slow-loris")

    name = b"x" * (1 << 20)
    before = counter("carbon_rejected_total")
    for port, text in ((line, b" 1 -1\n"), (statsd, b":1|c\n")):
        for _ in range(50):
            send(port, name + text)
    frame = b"\x80\x02](X" + len(name).to_bytes(4, "little") + name + b"I1\nI1\n\x86\x86e."
    for _ in range(20):
        try:
            send(pickle, len(frame).to_bytes(4, "big") + frame)
        except OSError:
            pass
    time.sleep(1)
    must("a name of 1 MiB: counted", counter("carbon_rejected_total") - before >= 50
         and counter("statsd_bad_lines_total") >= 50
         and counter("carbon_pickles_too_long_total") >= 20)
    served("names of 1 MiB")
    print(f"       {memory()} MiB")

    begun, sent = time.time(), 0
    with socket.create_connection(("127.0.0.1", line)) as lines, socket.create_connection(("127.0.0.1", statsd)) as keys:
        half, part = ARGS.names // 2, 2_000
        while sent < half:
            now = int(time.time())
            lines.sendall("".join(f"new.n{n % 97}.name{n} 1 {now}\n" for n in range(sent, sent + part)).encode())
            keys.sendall("".join(f"new.key{n}:1|c\n" for n in range(sent, sent + part)).encode())
            sent += part
            if sent % 100_000 == 0:
                served(f"{2 * sent:,} new names in {time.time() - begun:.0f} s")
            time.sleep(max(0, begun + sent / half * 60 - time.time()))
    took = time.time() - begun
    time.sleep(3)
    refused, limited = counter("path_points_refused_total"), counter("statsd_limited_total")
    must(f"{2 * sent:,} new names in {took:.0f} s against a limit of {ARGS.limit:,}: {refused:,.0f} points of series and "
         f"{limited:,.0f} of keys refused and counted", refused > 0 and limited >= half - ARGS.limit - 10)
    served("after the names")
    stop.set()
    dribbling.join()
    peak = memory("VmHWM")
    must(f"memory: {peak} MiB at most", peak <= ARGS.rss_mib)
    told = json.loads(get("/api/v1/ingest"))
    must("samples of what was lost are shown", "name" in json.dumps(told))
finally:
    server.terminate()
    server.wait(60)
    log.close()
    shutil.rmtree(folder, ignore_errors=True)
print(f"{len(FAILED)} failed")
sys.exit(bool(FAILED))
