#!/usr/bin/env python3
"""graphite-web and Rhythmite side by side: the same tree of whisper files, the same requests, medians of five.

    tests/load/graphite_beside.py --rhythmite BIN --graphite-web RUN_SH [--work DIR]

RUN_SH is a script that serves a tree of whisper files with graphite-web 1.1.10: `RUN_SH PORT TREE`, in the foreground.
The tree has 1,000 series of one day in steps of ten seconds, a tenth of the points missing. Each request is sent to both
servers in turn, once to warm up and five times for the figures; both answers must have as many series and points.
Prints a table; the exit status is 1 if a ratio is missed. Standard library only.
"""
import argparse
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

NOW = 1_717_243_200
STEP, DAY = 10, 86_400
ROUNDS = 5


def wsp(seed):
    """One file: the archive 10s:1d, averaged, full but for a tenth."""
    slots = DAY // STEP
    r = random.Random(seed)
    ring = bytearray(12 * slots)
    first = NOW - DAY + STEP
    for i in range(slots):
        if r.random() >= 0.1:
            struct.pack_into('!Ld', ring, 12 * i, first + i * STEP, round(r.random() * 100, 2))
    if struct.unpack_from('!L', ring, 0)[0] == 0:  # the first slot says where the ring begins
        struct.pack_into('!Ld', ring, 0, first, 0.0)
    return struct.pack('!2LfL', 1, DAY, 0.5, 1) + struct.pack('!3L', 28, STEP, slots) + bytes(ring)


def make_tree(root):
    for i in range(1_000):
        path = os.path.join(root, 'bench', 'host%03d.wsp' % i)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(wsp(i))


def render(target, **more):
    return '/render?' + urllib.parse.urlencode(
        {'target': target, 'from': NOW - DAY, 'until': NOW, 'now': NOW, 'format': 'json', **more})


# name, path, the least ratio
REQUESTS = [
    ('sumSeries, 100 series', render('sumSeries(bench.host0*)'), 30),
    ('sumSeries, 1000 series', render('sumSeries(bench.*)'), 60),
    ('sumSeries, 1000, maxDataPoints=800', render('sumSeries(bench.*)', maxDataPoints=800), 60),
    ('movingAverage 1h, 10 series', render('movingAverage(bench.host00*,"1h")'), 100),
    ('movingAverage 10 points, 10 series', render('movingAverage(bench.host00*,10)'), None),
    ('movingAverage 1h, 100, maxDataPoints=800', render('movingAverage(bench.host0*,"1h")', maxDataPoints=800), 100),
    ('plain, 100 series', render('bench.host0*'), None),
    ('plain, 100, maxDataPoints=800', render('bench.host0*', maxDataPoints=800), None),
    ('highestAverage 10 of 1000', render('highestAverage(bench.*,10)'), None),
    ('summarize 1h, 100 series', render('summarize(bench.host0*,"1h")'), None),
    ('find, 1000 leaves', '/metrics/find?query=bench.*&format=treejson', 20),
    ('find, 1000 leaves, json', '/metrics/find?query=bench.*&format=json', 20),
]


def get(port, path):
    started = time.perf_counter()
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=300)
    connection.request('GET', path)
    reply = connection.getresponse()
    body = reply.read()
    took = time.perf_counter() - started
    connection.close()
    if reply.status != 200:
        sys.exit('%s: %s %s' % (path, reply.status, body[:300]))
    return took, body


def shape(body):
    doc = json.loads(body.replace(b'-Infinity', b'null'))
    return [(s['target'], len(s['datapoints'])) if 'target' in s else None for s in doc]


def cpu_s(pids):
    """CPU seconds that processes have used, their children's too."""
    ticks = 0
    for pid in pids:
        with open('/proc/%d/stat' % pid) as f:
            fields = f.read().rsplit(')', 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


def children(pid):
    with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
        below = [int(p) for p in f.read().split()]
    return [pid] + [p for child in below for p in children(child)]


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for(port, path):
    for _ in range(120):
        try:
            get(port, path)
            return
        except OSError:
            time.sleep(0.5)
    sys.exit('nobody listens on %d' % port)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--rhythmite', required=True)
    options.add_argument('--graphite-web', required=True)
    options.add_argument('--work')
    options = options.parse_args()
    work = options.work or tempfile.mkdtemp(prefix='beside-')
    ours, theirs = free_port(), free_port()
    tree, data = os.path.join(work, 'whisper'), os.path.join(work, 'data')
    if not os.path.isdir(tree):
        make_tree(tree)
    config = os.path.join(work, 'rhythmite.toml')
    with open(config, 'w') as f:
        f.write('[http]\nlisten = "127.0.0.1:%d"\n[self]\ninterval = "0"\n' % ours)
    shutil.rmtree(data, ignore_errors=True)
    at = ['--config', config, '--data-dir', data]
    subprocess.run([options.rhythmite, 'import', 'whisper', tree, *at], check=True, stdout=subprocess.DEVNULL)
    servers = []
    missed = 0
    try:
        servers.append(subprocess.Popen([options.rhythmite, 'serve', *at], stdout=subprocess.DEVNULL))
        servers.append(subprocess.Popen([options.graphite_web, str(theirs), tree], stdout=subprocess.DEVNULL))
        for port in (ours, theirs):
            wait_for(port, '/metrics/find?query=bench')
        print('%-42s %10s %10s %9s %9s %7s %6s' % (
            'request', 'ours ms', 'theirs ms', 'ours CPU', 'th. CPU', 'ratio', 'least'))
        for name, path, least in REQUESTS:
            took, cpu = ([], []), [0.0, 0.0]
            bodies = [get(port, path)[1] for port in (ours, theirs)]
            if shape(bodies[0]) != shape(bodies[1]):
                sys.exit('%s: the answers differ' % name)
            for _ in range(ROUNDS):
                for i, port in enumerate((ours, theirs)):
                    pids = children(servers[i].pid)
                    before = cpu_s(pids)
                    took[i].append(get(port, path)[0] * 1e3)
                    cpu[i] += (cpu_s(pids) - before) * 1e3 / ROUNDS
            us, them = map(statistics.median, took)
            fails = least is not None and them / us < least
            missed += fails
            print('%-42s %10.2f %10.1f %9.1f %9.1f %7.1f %6s%s' % (
                name, us, them, cpu[0], cpu[1], them / us, least or '', '  MISSED' if fails else ''), flush=True)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
        if not options.work:
            shutil.rmtree(work)
    sys.exit(1 if missed else 0)


if __name__ == '__main__':
    main()
