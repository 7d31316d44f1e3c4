#!/usr/bin/env bash
# Files that the whisper library writes are imported, verified and exported; the library reads the same points from what
# came out, archive by archive and through its own fetch.
#
#   cargo build --release
#   tests/live/whisper.sh [path to rhythmite] [python with whisper 1.1.10]
#
# Without a second argument whisper is installed from PyPI into a directory that is removed again.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
binary=${1:-$here/target/release/rhythmite}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python=${2:-}
if [ -z "$python" ]; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet whisper==1.1.10
    python=$dir/venv/bin/python
fi

cat > "$dir/files.py" <<'PY'
"""files.py make DIR | compare ONE OTHER: whisper files with live, old, sparse and empty archives."""
import math, os, random, sys, time
import whisper

NOW = int(time.time())
METHODS = ["average", "sum", "last", "max", "min", "avg_zero", "absmax", "absmin"]


def make(root):
    rng = random.Random(1)
    for i, method in enumerate(METHODS * 3):
        name = "_tagged/abc/def/t;k=%d.wsp" % i if i % 6 == 5 else "m/%s/n%d.wsp" % (method, i)
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        whisper.create(path, [(10, 90), (60, 60), (300, 48)], xFilesFactor=(i % 3) / 2, aggregationMethod=method)
        age = 0 if i % 4 else 40_000_000
        times = [NOW - age - s for s in range(0, 14_000, 10) if rng.random() < (0.2, 0.7, 1, 0)[i % 4] or age]
        if age:
            # The library refuses old points: they are written while they are new.
            real, time.time = time.time, lambda: NOW - age
        points = [(t, rng.choice([rng.uniform(-1e3, 1e3), 0.0, -0.0, 1e300, 5e-324])) for t in times]
        whisper.update_many(path, points) if points else None
        if age:
            time.time = real


def archives(path):
    info = whisper.info(path)
    found = []
    with open(path, "rb") as f:
        for a in info["archives"]:
            points = {}
            f.seek(a["offset"])
            base = None
            for slot in range(a["points"]):
                t, v = whisper.struct.unpack(whisper.pointFormat, f.read(whisper.pointSize))
                base = t if base is None else base
                if t and base and t % a["secondsPerPoint"] == 0 and (t - base) // a["secondsPerPoint"] % a["points"] == slot:
                    points[t] = whisper.struct.pack("!d", v)
            newest = max(points, default=0)
            found.append({t: v for t, v in points.items() if t > newest - a["retention"]})
    shape = [(a["secondsPerPoint"], a["points"]) for a in info["archives"]]
    return (info["aggregationMethod"], info["xFilesFactor"], shape), found


def compare(one, other):
    files = [os.path.relpath(os.path.join(d, f), one) for d, _, fs in os.walk(one) for f in fs]
    written = [os.path.join(d, f) for d, _, fs in os.walk(other) for f in fs]
    points = 0
    for name in files:
        # The library's tree has any folders below _tagged, ours those of the hash.
        match = [w for w in written if os.path.basename(w) == os.path.basename(name)]
        assert len(match) == 1, (name, match)
        a, b = archives(os.path.join(one, name)), archives(match[0])
        assert a[0] == b[0], name
        for (step, count), x, y in zip(a[0][2], a[1], b[1]):
            # The coarse slot that was not over when the file was imported follows the points of the finest archive.
            until = NOW if step == 10 else NOW - step
            newest = max([*x, *y, 0])
            x, y = ({t: v for t, v in p.items() if newest - step * (count - 1) < t <= until} for p in (x, y))
            assert x == y, (name, step)
            points += len(x)
        for back in (600, 3_000, 14_000):
            x, y = (whisper.fetch(p, NOW - back, NOW - 300, now=NOW) for p in (os.path.join(one, name), match[0]))
            assert repr(x) == repr(y), (name, back)
    assert len(written) == len(files), (len(written), len(files))
    print("%d files with %d points are the same" % (len(files), points))


if sys.argv[1] == "make":
    make(sys.argv[2])
else:
    compare(sys.argv[2], sys.argv[3])
PY

"$python" "$dir/files.py" make "$dir/in"
printf 'data_dir = "%s"\n' "$dir/data" > "$dir/rhythmite.toml"
"$binary" import whisper "$dir/in" --config "$dir/rhythmite.toml" --verify --report "$dir/report.json"
"$binary" export whisper "$dir/out" --config "$dir/rhythmite.toml"
"$python" "$dir/files.py" compare "$dir/in" "$dir/out"
