#!/usr/bin/env python3
"""Random InfluxQL and line protocol, asked of Rhythmite and of a real InfluxDB 1.6, answers compared.

    cargo build
    tests/live/influxql_differential.py --bin target/debug/rhythmite [--seed N] [--count 2000] [--kinds select,show,wrong,rules,write]

Starts both servers (Debian's `influxd` 1.6.7) on loopback with folders of their own, writes the same points to both, asks
the same statements, and prints what differs. Not part of CI: it needs influxd. The same seed gives the same statements.

Two answers are equal if they have the same status and the same JSON: floats to a relative 1e-9, series and rows in order.
An answer that InfluxDB itself does not repeat in ten tries must be among those it gave, whatever the order of series. What
differs on purpose is listed in KNOWN with its reason and counted apart. The exit status is 0 if nothing else differs.
Python 3.11, standard library only.
"""
import argparse, collections, http.client, json, math, os, random, re, shutil, socket, subprocess, sys, tempfile, time, urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from influxql_random import Statements, Writes, data

DATABASE = "db_d"
BUCKETS = 20000

INFLUX = """reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{dir}/meta"
[data]
  dir = "{dir}/data"
  wal-dir = "{dir}/wal"
  query-log-enabled = false
[coordinator]
  max-select-buckets = {buckets}
  query-timeout = "10s"
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
  flux-enabled = false
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
"""

OURS = """data_dir = "{dir}/data"
[http]
listen = "127.0.0.1:{http}"
[query]
max_select_buckets = {buckets}
timeout = "10s"
[continuous_queries]
enabled = false
"""

NUMBER = r"-?\d+(?:\.\d+)?"


def inner(text):
    """The texts of the subqueries."""
    return re.findall(r"FROM \((.*)\)", text)


def filled_apart(text, ours, theirs):
    """The answers are the same but for numbers of fill() among texts and booleans, where ours are null."""
    with_number = re.search(r"fill\((%s)\)" % NUMBER, text)
    if not with_number:
        return False
    value = float(with_number.group(1))

    def near(a, b):
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(near(x, y) for x, y in zip(a, b))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(near(a[k], b[k]) for k in a)
        return same(a, b) or (a is None and same(b, value))

    return near(ours[1], theirs[1])


# What differs on purpose: docs/reference/differences.md. (reason, whether it explains: statement, our answer, theirs)
KNOWN = [
    ("a number that JSON has not ends InfluxDB's answer", lambda text, ours, theirs: str(theirs[1]).startswith("json: error")),
    ("fill() of a number among texts: null", filled_apart),
    ("top, bottom: LIMIT cuts the points they choose from",
     lambda text, ours, theirs: re.search(r"(top|bottom)\(\w+, \d+\)", text) and re.search(r"LIMIT|OFFSET", text)),
    ("integral of several groups: last windows come apart, in any order",
     lambda text, ours, theirs: "integral(" in text and re.search(r"GROUP BY .*([a-z*/]|\")", re.sub(r"time\([^)]*\)", "", text))),
    ("a subquery's fill() with tags that the statement around it has not: windows come in the order of groups",
     lambda text, ours, theirs: any(re.search(r"GROUP BY .*fill\((previous|linear|%s)\)" % NUMBER, sub) for sub in inner(text))),
    ("a subquery's LIMIT and OFFSET with GROUP BY: counted anew whenever the series changes",
     lambda text, ours, theirs: any(re.search(r"GROUP BY .*(LIMIT|OFFSET)", sub) for sub in inner(text))),
    ("casts of a subquery's column to text or boolean: null", lambda text, ours, theirs: inner(text) and re.search(r"::(string|boolean|integer|float|tag|field)", text)),
    ("several points have the value and the time that are chosen: which of them is shown",
     lambda text, ours, theirs: re.search(r"(first|last|min|max|percentile|top|bottom)\(.* FROM tie", text)
     or re.search(r"(first|last)\(", text) and "time(" not in text),
    ("max-select-buckets holds without bounds of time, too", lambda text, ours, theirs: "max-select-buckets" in json.dumps(ours[1])),
    ("the zone Local is not known", lambda text, ours, theirs: "tz('Local')" in text),
    ("time(w, offset): an instant as text is an offset, now() is this moment", lambda text, ours, theirs: re.search(r"time\(\w+, ('|now)", text)),
    ("SHOW SERIES EXACT CARDINALITY counts a series once, not once a week", lambda text, ours, theirs: "SERIES EXACT CARDINALITY" in text),
    ("SHOW ... ORDER BY has no effect", lambda text, ours, theirs: text.startswith("SHOW") and "ORDER BY" in text),
    ("a subquery that chooses points of several groups: in order of time",
     lambda text, ours, theirs: any(re.search(r"(first|last|min|max|percentile|top|bottom)\(.* GROUP BY (?!time)", sub) for sub in inner(text))),
]


KNOWN_WRITES = [
    ("unsigned integers are taken", lambda body, ours, theirs: re.search(r"=\d+u", body)),
    ("a parameter that is wrong is told before the body is read; precisions are checked as in 1.8, a missing policy is 404",
     lambda body, ours, theirs: re.search(r"invalid precision|invalid consistency level|retention policy not found", ours[1][0])),
    ("text behind a closing quote is refused as such", lambda body, ours, theirs: ours[0] == 400 and re.search(r'"[^,\s]+', body)),
    ("a string that is never closed costs one line", lambda body, ours, theirs: "unbalanced quotes" in ours[1][0]),
    ("a carriage return ends a line", lambda body, ours, theirs: "\r" in body),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server on a folder of its own, or one that runs already."""

    def __init__(self, url=None, command=None, config=None, folder=None):
        self.process = None
        self.connection = None
        if url:
            at = urllib.parse.urlsplit(url)
            self.host, self.port = at.hostname, at.port
            return
        os.makedirs(folder)
        self.host, self.port = "127.0.0.1", free_port()
        path = os.path.join(folder, "config")
        with open(path, "w") as out:
            out.write(config.format(dir=folder, http=self.port, rpc=free_port(), buckets=BUCKETS))
        log = open(os.path.join(folder, "log"), "wb")
        # Bounded, since a statement that was made at random may mean more than it should.
        self.process = subprocess.Popen(["prlimit", "--as=8000000000", *[part.replace("CONFIG", path) for part in command]], stdout=log, stderr=log)
        deadline = time.time() + 60
        while time.time() < deadline and self.process.poll() is None:
            try:
                if self.request("GET", "/ping", {})[0] < 300:
                    return
            except OSError:
                time.sleep(0.2)
        raise SystemExit("%s did not start: %s" % (command[0], open(log.name).read()[-2000:]))

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def request(self, method, path, params, body=b""):
        target = path + ("?" + urllib.parse.urlencode(params) if params else "")
        for attempt in (0, 1):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
            try:
                self.connection.request(method, target, body)
                response = self.connection.getresponse()
                return response.status, response.read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise

    def query(self, text, **params):
        body = urllib.parse.urlencode({"q": text})
        connection_headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for attempt in (0, 1):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
            try:
                self.connection.request("POST", "/query?" + urllib.parse.urlencode({"db": DATABASE, **params}), body, connection_headers)
                response = self.connection.getresponse()
                status, answer = response.status, response.read()
                break
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise
        try:
            return status, json.loads(answer)
        except ValueError:
            return status, answer.decode("utf-8", "replace")


def same(a, b):
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        if isinstance(a, int) and isinstance(b, int) and max(abs(a), abs(b)) < 2**53:
            return a == b
        return a == b or (math.isfinite(a) and math.isfinite(b) and abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-300))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return type(a) is type(b) and a == b


def sorted_series(answer):
    """The answer with the series of each result in order of names and tags."""
    if not isinstance(answer, dict):
        return answer
    out = json.loads(json.dumps(answer))
    for result in out.get("results", []):
        if "series" in result:
            result["series"].sort(key=lambda s: json.dumps([s.get("name"), s.get("tags")], sort_keys=True))
    return out


def without_nulls(answer):
    """The answer without columns of nothing but nulls: InfluxDB remembers tags and fields of what is gone."""
    out = json.loads(json.dumps(answer))
    for series in out.get("results", [{}])[0].get("series", []):
        keep = [at for at in range(len(series["columns"])) if any(row[at] is not None for row in series["values"])]
        series["columns"] = [series["columns"][at] for at in keep]
        series["values"] = [[row[at] for at in keep] for row in series["values"]]
    return out


def neutral(answer):
    """Texts without what no two servers share: numbers of shards and queries, versions."""
    status, body = answer
    text = json.dumps(body)
    text = re.sub(r"shard \d+", "shard N", text)
    return status, json.loads(text)


class Comparison:
    def __init__(self, ours, theirs, verbose):
        self.ours, self.theirs, self.verbose = ours, theirs, verbose
        self.counts = collections.Counter()
        self.differences = []

    def ask(self, kind, text, **params):
        try:
            ours = neutral(self.ours.query(text, **params))
            theirs = neutral(self.theirs.query(text, **params))
        except OSError:
            self.ours.connection = self.theirs.connection = None
            self.counts[kind, "too much for the time given"] += 1
            return
        if ours[0] == theirs[0] and same(ours[1], theirs[1]):
            self.counts[kind, "same"] += 1
            if theirs[0] != 200 or "error" in json.dumps(theirs[1]):
                self.counts[kind, "same, an error"] += 1
            elif '"series"' in json.dumps(theirs[1]):
                self.counts[kind, "same, with rows"] += 1
            return
        if "timeout" in json.dumps([ours[1], theirs[1]]) or "interrupted" in json.dumps([ours[1], theirs[1]]):
            self.counts[kind, "too much for the time given"] += 1
            return
        given = [theirs] + [neutral(self.theirs.query(text, **params)) for _ in range(9)]
        if any(not same(theirs[1], other[1]) for other in given[1:]):
            if any(same(sorted_series(ours[1]), sorted_series(other[1])) for other in given):
                self.counts[kind, "InfluxDB varies, ours is one of its answers"] += 1
                return
        for reason, known in KNOWN:
            if known(text, ours, theirs):
                self.counts[kind, "known: " + reason] += 1
                return
        self.counts[kind, "DIFFERS"] += 1
        self.differences.append((kind, text, params, ours, theirs))
        if self.verbose:
            show(*self.differences[-1])


    def write(self, params, body):
        """Writes to both; what they answer, and then what they hold, must be the same."""
        answers = []
        for server in (self.ours, self.theirs):
            status, answer = server.request("POST", "/write", {"db": DATABASE, **params}, body.encode("utf-8", "surrogateescape"))
            answer = re.sub(r'"timestamp":\d+', "", re.sub(r"shard \d+", "shard N", answer.decode("utf-8", "replace")))
            rows = server.query("SELECT * FROM /^w/")[1]
            # What has no time gets the clock's.
            rows = json.loads(re.sub(r'"20[2-9]\d-[-0-9T:.]+Z"(?<!2020-01-01T00:00:00Z")', '"now"', json.dumps(rows)))
            answers.append((status, [answer.strip(), without_nulls(rows)]))
            if "series" in json.dumps(rows):
                for series in rows["results"][0]["series"]:
                    server.query('DROP MEASUREMENT "%s"' % series["name"].replace("\\", "\\\\").replace('"', '\\"'))
        ours, theirs = answers
        if same(list(ours), list(theirs)):
            self.counts["write", "same"] += 1
            self.counts["write", "same, refused" if ours[0] != 204 else "same, taken"] += 1
            return
        for reason, known in KNOWN_WRITES:
            if known(body, ours, theirs):
                self.counts["write", "known: " + reason] += 1
                return
        self.counts["write", "DIFFERS"] += 1
        self.differences.append(("write", body, params, ours, theirs))
        if self.verbose:
            show(*self.differences[-1])


def show(kind, text, params, ours, theirs):
    print("---- %s %s %s" % (kind, text, params or ""))
    print("  ours   %s %s" % (ours[0], json.dumps(ours[1], ensure_ascii=False)[:700]))
    print("  theirs %s %s" % (theirs[0], json.dumps(theirs[1], ensure_ascii=False)[:700]), flush=True)


def fill(server, lines):
    server.query("DROP DATABASE " + DATABASE)
    server.query("CREATE DATABASE " + DATABASE)
    status, body = server.request("POST", "/write", {"db": DATABASE}, "\n".join(lines).encode())
    assert status == 204, (status, body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default="target/debug/rhythmite")
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--ours", help="URL of a server that runs")
    parser.add_argument("--theirs", help="URL of an InfluxDB that runs")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--count", type=int, default=2000, help="statements of each kind")
    parser.add_argument("--kinds", default="select,show,rules,wrong,write")
    parser.add_argument("--statements", help="a file of statements, one a line, instead of random ones")
    parser.add_argument("--quiet", action="store_true", help="only the counts")
    args = parser.parse_args()
    base = tempfile.mkdtemp(prefix="differential-")
    ours = theirs = None
    try:
        ours = Server(args.ours, [args.bin, "serve", "--config", "CONFIG"], OURS, base + "/ours")
        theirs = Server(args.theirs, [args.influxd, "run", "-config", "CONFIG"], INFLUX, base + "/theirs")
        lines = data(random.Random(args.seed))
        for server in (ours, theirs):
            fill(server, lines)
        print("seed %d, %d lines" % (args.seed, len(lines)))
        comparison = Comparison(ours, theirs, not args.quiet)
        if "write" in args.kinds.split(","):
            for server in (ours, theirs):
                fill(server, ["w0 f1=1 1"])
            writes = Writes(random.Random("%d write" % args.seed))
            for _ in range(args.count):
                comparison.write(*writes.write())
            for server in (ours, theirs):
                fill(server, lines)
        if args.statements:
            for line in open(args.statements):
                if line.strip():
                    comparison.ask("listed", line.strip(), epoch="ns")
        else:
            for kind in (kind for kind in args.kinds.split(",") if kind != "write"):
                statements = Statements(random.Random("%d %s" % (args.seed, kind)))
                for _ in range(args.count):
                    text = getattr(statements, kind)()
                    params = statements.rng.choice([{}, {}, {"epoch": "ns"}, {"epoch": "s"}, {"epoch": "ms"}])
                    comparison.ask(kind, text, **params)
    finally:
        for server in (ours, theirs):
            if server:
                server.stop()
        shutil.rmtree(base, ignore_errors=True)
    for (kind, what), count in sorted(comparison.counts.items()):
        print("%-8s %6d  %s" % (kind, count, what))
    print("seed %d: %d differ" % (args.seed, len(comparison.differences)))
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
