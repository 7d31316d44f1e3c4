#!/usr/bin/env python3
"""The gallery's pictures, drawn by Rhythmite and by graphite-web from the same whisper files, to be looked at in pairs.

    tests/live/pictures_beside.py --rhythmite BIN --graphite-web RUN_SH --out DIR [--page PAGE]

RUN_SH is a script that serves a tree of whisper files with graphite-web 1.1.10: `RUN_SH PORT TREE`, in the foreground.
Sends each request of PAGE (docs/reference/graphite-gallery.md) to both and writes DIR/NAME-ours.png, DIR/NAME-theirs.png
and DIR/index.html, which shows them side by side. The series are those of the gallery: three days in steps of a minute.
Fails when a server answers with anything but a picture of the size asked for. Standard library only.
"""
import argparse
import html
import math
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

NOW, STEP, SLOTS = 1_717_243_200, 60, 3 * 1440 + 60
PAGE = os.path.join(os.path.dirname(__file__), '..', '..', 'docs', 'reference', 'graphite-gallery.md')
# A path, its mean, how it goes up and down in a day, and its noise; see compat/graphite/examples/gallery.rs.
SERIES = [
    ('servers.web01.cpu', 45.0, 22.0, 6.0), ('servers.web02.cpu', 40.0, 18.0, 8.0),
    ('servers.web03.cpu', 30.0, 15.0, 5.0), ('servers.web04.cpu', 22.0, 12.0, 4.0),
    ('servers.web01.requests', 3800.0, 1900.0, 300.0), ('servers.web02.requests', 3100.0, 1500.0, 280.0),
    ('servers.web03.requests', 2300.0, 1100.0, 250.0), ('servers.web04.requests', 1400.0, 700.0, 200.0),
    ('disk.sda.read_bytes', 3.0e8, 2.4e8, 5.0e7), ('disk.sda.latency_ms', 6.0, 3.0, 60.0),
    ('disk.sdb.latency_ms', 40.0, 30.0, 900.0), ('jobs.backup.seconds', 4500.0, 1200.0, 300.0),
    ('sensors.cellar.celsius', 11.5, 1.5, 0.4), ('deploys.shop', 0.0, 0.0, 0.0),
]


def chance(seed, n):
    """A number from 0 to 1 that only depends on the arguments: SplitMix64."""
    mask = (1 << 64) - 1
    z = ((n ^ seed << 40) + 1) * 0x9e3779b97f4a7c15 & mask
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & mask
    z = (z ^ z >> 27) * 0x94d049bb133111eb & mask
    return (z >> 11) / 2.0 ** 53


def value(seed, path, mean, swing, noise, at):
    minute = at // STEP
    luck = chance(seed, minute)
    if path.startswith('sensors') and (minute % 97 < 25 or luck > 0.93):
        return None
    if path.startswith('deploys'):
        return 1.0 if minute % 331 == 7 else 0.0
    day = (at / 86_400 - 0.3 + seed * 0.02) * math.tau
    return mean + swing * math.sin(day) + (luck ** 9 * noise if path.endswith('latency_ms') else (luck - 0.5) * noise)


def make_tree(root):
    first = NOW - (SLOTS - 1) * STEP
    for seed, series in enumerate(SERIES):
        # The slot of a time is counted from the time in the first one.
        values = [(at, value(seed, *series, at)) for at in range(first, NOW + 1, STEP)]
        values[0] = (first, values[0][1] or series[1])
        ring = b''.join(struct.pack('!Ld', at, v) if v is not None else bytes(12) for at, v in values)
        path = os.path.join(root, series[0].replace('.', '/') + '.wsp')
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(struct.pack('!2LfL3L', 1, SLOTS * STEP, 0.0, 1, 28, STEP, SLOTS) + ring)


def requests(page):
    """The requests of a page and the names of their pictures, as the gallery's own script finds them."""
    with open(page) as f:
        for request, file in re.findall(r'```text\n/render\?(.*?)\n```.*?!\[[^\]]*\]\(([^)]*)\)', f.read(), re.S):
            pairs = [pair.split('=', 1) for pair in request.replace('\n', '').split('&')]
            yield pairs, os.path.splitext(os.path.basename(file))[0]


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def get(port, path):
    with urllib.request.urlopen('http://127.0.0.1:%d%s' % (port, path), timeout=60) as reply:
        return reply.read()


def wait_for(port):
    for _ in range(120):
        try:
            return get(port, '/metrics/find?query=*')
        except OSError:
            time.sleep(0.5)
    sys.exit('nobody listens on %d' % port)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--rhythmite', required=True)
    options.add_argument('--graphite-web', required=True)
    options.add_argument('--out', required=True)
    options.add_argument('--page', default=PAGE)
    options = options.parse_args()
    os.makedirs(options.out, exist_ok=True)
    servers, rows = [], []
    with tempfile.TemporaryDirectory() as work:
        ports = [free_port(), free_port()]
        tree, config = os.path.join(work, 'whisper'), os.path.join(work, 'rhythmite.toml')
        make_tree(tree)
        with open(config, 'w') as f:
            f.write('[http]\nlisten = "127.0.0.1:%d"\n[self]\ninterval = "0"\n' % ports[0])
        at = ['--config', config, '--data-dir', os.path.join(work, 'data')]
        quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
        subprocess.run([options.rhythmite, 'import', 'whisper', tree, *at], check=True, **quiet)
        try:
            servers.append(subprocess.Popen([options.rhythmite, 'serve', *at], **quiet))
            servers.append(subprocess.Popen([options.graphite_web, str(ports[1]), tree], **quiet))
            for port in ports:
                wait_for(port)
            for pairs, name in requests(options.page):
                asked = dict(pairs)
                size = int(asked.get('width', 330)), int(asked.get('height', 250))
                path = '/render?' + urllib.parse.urlencode([*map(tuple, pairs), ('now', NOW), ('until', NOW)])
                cells = []
                for whose, port in zip(('ours', 'theirs'), ports):
                    picture = get(port, path)
                    if picture[:8] != b'\x89PNG\r\n\x1a\n' or struct.unpack('!2L', picture[16:24]) != size:
                        sys.exit('%s: not a picture of %d x %d from %s' % (name, *size, whose))
                    file = '%s-%s.png' % (name, whose)
                    with open(os.path.join(options.out, file), 'wb') as f:
                        f.write(picture)
                    cells.append('<td><img src="%s">' % file)
                rows.append('<tr><td colspan=2><code>%s</code><tr>%s' % (html.escape(str(pairs)), ''.join(cells)))
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait()
    with open(os.path.join(options.out, 'index.html'), 'w') as f:
        f.write('<!doctype html><title>Ours, theirs</title><table>%s</table>' % '\n'.join(rows))
    print('%d pairs in %s' % (len(rows), options.out))


if __name__ == '__main__':
    main()
