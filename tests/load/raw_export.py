#!/usr/bin/env python3
"""A raw SELECT of everything, and `rhythmite export influx`: memory must not grow with the rows.

    cargo build --release
    tests/load/raw_export.py --bin target/release/rhythmite [--rows 100000000] [--series 1000]

Writes the rows, restarts the server, then asks for all of them with chunked=true, counts what comes, and watches the memory
of the server (VmRSS of /proc, ten times a second); then exports the database by command and counts the lines. The exit
status is 0 if every row came and the server's memory grew by less than --most megabytes while it answered. What CI has of
this is the test `src/query/influxql/tests/select.rs`, where a thousand times fewer values may be held than rows come.
Python 3.11, standard library only.
"""
import argparse, http.client, os, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live"))
from influxql_differential import free_port

T0 = 1735689600


def rss_mb(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Server:
    def __init__(self, binary, config, port):
        self.port = port
        self.process = subprocess.Popen([binary, "serve", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 120
        while time.time() < deadline:
            try:
                if self.request("GET", "/ready", {}) == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise SystemExit("the server does not start")

    def request(self, method, path, params, body=b""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path + "?" + urllib.parse.urlencode(params), body)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default="target/release/rhythmite")
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--most", type=float, default=512, help="megabytes that memory may grow by")
    args = parser.parse_args()
    base, port = tempfile.mkdtemp(prefix="raw-export-"), free_port()
    config = os.path.join(base, "config")
    with open(config, "w") as out:
        out.write('data_dir = "%s/data"\n[http]\nlisten = "127.0.0.1:%d"\n[query]\ntimeout = "0s"\n' % (base, port))
    server = None
    try:
        server = Server(args.bin, config, port)
        server.request("POST", "/query", {"q": "CREATE DATABASE raw"})
        heads = ["m,s=%d v=" % s for s in range(args.series)]
        sent, at = 0, 0
        while sent < args.rows:
            # All series at some seconds, about ten thousand rows.
            lines = []
            for at in range(at, at + max(1, 10000 // args.series)):
                lines += ["%s%di %d" % (head, at % 97, T0 + at) for head in heads[: args.rows - sent - len(lines)]]
            at += 1
            while server.request("POST", "/write", {"db": "raw", "precision": "s"}, "\n".join(lines).encode()) != 204:
                time.sleep(0.1)
            sent += len(lines)
        print("rows      %d, at most %.0f MB while they were written" % (sent, rss_mb(server.process.pid)))
        server.stop()
        server = Server(args.bin, config, port)
        time.sleep(2)
        before, most, done = rss_mb(server.process.pid), 0.0, threading.Event()

        def watch():
            nonlocal most
            while not done.is_set():
                most = max(most, rss_mb(server.process.pid))
                time.sleep(0.1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.time()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("GET", "/query?" + urllib.parse.urlencode({"db": "raw", "epoch": "s", "chunked": "true", "q": "SELECT v FROM m"}))
        response, rows, left = connection.getresponse(), 0, b""
        # Every row begins with a bracket and ten digits; so does nothing else.
        needle = b"[1"
        while piece := response.read(1 << 20):
            piece = left + piece
            rows += piece.count(needle)
            left = piece[-1:] if piece.endswith(b"[") else b""
        done.set()
        watcher.join()
        print("SELECT    %d rows in %.0f s; memory %.0f MB before, %.0f MB at most" % (rows, time.time() - began, before, most))
        server.stop()
        server = None
        began = time.time()
        export = subprocess.Popen([args.bin, "export", "influx", "--database", "raw", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        lines, export_most = 0, 0.0
        while piece := export.stdout.read(1 << 20):
            lines += sum(1 for line in piece.split(b"\n")[:-1])
            export_most = max(export_most, rss_mb(export.pid)) if export.poll() is None else export_most
        export.wait()
        print("export    %d lines in %.0f s; at most %.0f MB" % (lines, time.time() - began, export_most))
        good = rows == sent and lines >= sent and most - before < args.most
        print("good" if good else "BAD")
        return 0 if good else 1
    finally:
        if server:
            server.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
