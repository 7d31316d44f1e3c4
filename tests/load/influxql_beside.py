#!/usr/bin/env python3
"""Dashboards' InfluxQL, asked of Rhythmite and of a real InfluxDB 1.6 over the same points, in one run.

    cargo build --release
    tests/load/influxql_beside.py --bin target/release/rhythmite [--hours 24] [--values 1000000] > docs/bench/<date>-influxql-beside.txt

Starts both on loopback with folders of their own, writes the same points to both (100 hosts, 10 fields, every 10 s; and one
measurement with a tag of --values values), waits until both are idle, and asks each query of both in turn. For each query it
prints the median time to the last byte and the processor time of the server (all threads, from /proc), whether the answers
are equal, and the ratios. The exit status is 1 if an answer differs or one query is slower here. Python 3.11, standard
library only. Not part of CI: it needs influxd, several minutes and 3 GB of disk.
"""
import argparse, glob, json, os, platform, random, shutil, statistics, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live"))
import influxql_differential as servers

FIELDS = ["usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait", "usage_irq", "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"]
HOSTS, STEP, T0 = 100, 10, 1735689600
REGIONS = ["eu-west-1", "us-east-1", "us-west-2", "ap-south-1"]


def batches(hours):
    """Bodies of about 5,000 rows: whole numbers that walk between 0 and 100."""
    rng = random.Random(1)
    heads = ["cpu,arch=x%d,datacenter=%s%s,hostname=host_%d,region=%s" % (64 if h % 3 else 86, REGIONS[h % 4], "ab"[h % 2], h, REGIONS[h % 4]) for h in range(HOSTS)]
    values = [[rng.randint(0, 100) for _ in FIELDS] for _ in range(HOSTS)]
    lines = []
    for at in range(hours * 3600 // STEP):
        stamp = "%d000000000" % (T0 + at * STEP)
        for host in range(HOSTS):
            row = values[host]
            for f in range(10):
                row[f] = min(100, max(0, row[f] + rng.randint(-1, 1)))
            lines.append("%s %s %s" % (heads[host], ",".join("%s=%di" % pair for pair in zip(FIELDS, row)), stamp))
        if len(lines) >= 5000:
            yield "\n".join(lines).encode()
            lines = []
    yield "\n".join(lines).encode()


def tag_batches(values):
    for start in range(0, values, 10000):
        yield "\n".join("wide,id=value-%07d v=1i %d000000000" % (n * 7919 % values, T0) for n in range(start, min(start + 10000, values))).encode()


def queries(hours):
    """(name, statement with {host}, {hosts}, {s1}, {s6}, {s12} for what changes from one time to the next)"""
    by_host = "FROM cpu WHERE time >= {a12}s AND time < {b12}s GROUP BY time(1h), hostname"
    mean = lambda n: ", ".join("mean(%s)" % f for f in FIELDS[:n])
    peak = lambda n: ", ".join("max(%s)" % f for f in FIELDS[:n])
    one, hour, six = "hostname = '{host}'", "time >= {a1}s AND time < {b1}s", "time >= {a6}s AND time < {b6}s"
    return [
        ("max, 1 host, 1 h by minute", f"SELECT max(usage_user) FROM cpu WHERE {one} AND {hour} GROUP BY time(1m)"),
        ("max, 1 host, 12 h by minute", "SELECT max(usage_user) FROM cpu WHERE hostname = '{host}' AND time >= {a12}s AND time < {b12}s GROUP BY time(1m)"),
        ("max, 8 hosts, 1 h by minute", f"SELECT max(usage_user) FROM cpu WHERE {{hosts}} AND {hour} GROUP BY time(1m)"),
        ("max of 5 fields, 8 hosts", f"SELECT {peak(5)} FROM cpu WHERE {{hosts}} AND {hour} GROUP BY time(1m)"),
        ("max of 10 fields, 1 host, 6 h by hour", f"SELECT {peak(10)} FROM cpu WHERE {one} AND {six} GROUP BY time(1h)"),
        ("mean by host and hour, 12 h", f"SELECT {mean(1)} {by_host}"),
        ("mean of 5 fields by host and hour", f"SELECT {mean(5)} {by_host}"),
        ("mean of 10 fields by host and hour", f"SELECT {mean(10)} {by_host}"),
        ("mean(*), 1 host, 6 h by 10 minutes", f"SELECT mean(*) FROM cpu WHERE {one} AND {six} GROUP BY time(10m)"),
        ("last value of 1 host", f"SELECT last(usage_user) FROM cpu WHERE {one}"),
        ("percentile 95 of all hosts, 1 h", f"SELECT percentile(usage_user, 95) FROM cpu WHERE {hour} GROUP BY time(10m)"),
        ("derivative of max, 1 host, 6 h", f"SELECT derivative(max(usage_user), 1s) FROM cpu WHERE {one} AND {six} GROUP BY time(1m)"),
        ("non_negative_derivative by region", f"SELECT non_negative_derivative(mean(usage_user), 1m) FROM cpu WHERE {hour} GROUP BY time(5m), region"),
        ("moving_average by datacenter", f"SELECT moving_average(mean(usage_idle), 5) FROM cpu WHERE {six} GROUP BY time(5m), datacenter"),
        ("count of a condition by hour", "SELECT count(usage_user) FROM cpu WHERE usage_user > 90 AND time >= {a6}s AND time < {b6}s GROUP BY time(1h)"),
        ("raw, 1 field, 1 host, 1 h", f"SELECT usage_user FROM cpu WHERE {one} AND {hour}"),
        ("raw rows of a condition, 1 host, 12 h", "SELECT * FROM cpu WHERE usage_user > 90 AND hostname = '{host}' AND time >= {a12}s AND time < {b12}s"),
        ("median by region, 1 h", f"SELECT median(usage_system) FROM cpu WHERE {hour} GROUP BY time(10m), region"),
        ("stddev, 1 host, 6 h", f"SELECT stddev(usage_user) FROM cpu WHERE {one} AND {six} GROUP BY time(10m)"),
        ("spread by host, 1 h", f"SELECT spread(usage_user) FROM cpu WHERE {hour} GROUP BY hostname"),
        ("mean of maxima of hosts", f"SELECT mean(m) FROM (SELECT max(usage_user) AS m FROM cpu WHERE {hour} GROUP BY time(1m), hostname) WHERE {hour} GROUP BY time(10m)"),
        ("hosts by a regular expression", f"SELECT mean(usage_user) FROM cpu WHERE hostname =~ /^host_1\\d$/ AND {hour} GROUP BY time(1m), hostname"),
        ("sum of two means, fill(previous)", f"SELECT mean(usage_user) + mean(usage_system) FROM cpu WHERE {one} AND {six} GROUP BY time(1m) fill(previous)"),
        ("newest 100 rows of 1 host", f"SELECT usage_user, usage_system FROM cpu WHERE {one} ORDER BY time DESC LIMIT 100"),
        ("rows of all hosts by count and sum", f"SELECT count(usage_user), sum(usage_user) FROM cpu WHERE {six} GROUP BY time(30m)"),
    ]


def parameters(rng, hours):
    out = {"host": "host_%d" % rng.randrange(HOSTS), "hosts": "(%s)" % " OR ".join("hostname = 'host_%d'" % h for h in rng.sample(range(HOSTS), 8))}
    for span in (1, 6, 12):
        span_s = min(span, hours) * 3600
        start = T0 + rng.randrange((hours * 3600 - span_s) // 60 + 1) * 60
        out["a%d" % span], out["b%d" % span] = start, start + span_s
    return out


def cpu_s(pid):
    """Processor seconds of all threads."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
        try:
            total += int(open(path).read().split()[0])
        except (OSError, IndexError):
            pass
    return total / 1e9


def settle(both):
    for server in both:
        deadline, quiet = time.time() + 300, 0
        while quiet < 4 and time.time() < deadline:
            before = cpu_s(server.process.pid)
            time.sleep(1)
            quiet = quiet + 1 if cpu_s(server.process.pid) - before < 0.05 else 0


def measure(server, texts):
    """Median seconds, processor seconds for one, the answers."""
    walls, answers = [], []
    # What is cached of data is cached for both.
    for text in texts:
        server.query(text, epoch="ns")
    before = cpu_s(server.process.pid)
    for text in texts:
        began = time.perf_counter()
        status, body = server.request("GET", "/query", {"db": servers.DATABASE, "epoch": "ns", "q": text})
        walls.append(time.perf_counter() - began)
        answers.append((status, body))
    time.sleep(0.05)
    return statistics.median(walls), (cpu_s(server.process.pid) - before) / len(texts), answers


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bin", default="target/release/rhythmite")
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    base = tempfile.mkdtemp(prefix="beside-")
    both = []
    config = servers.INFLUX.replace("  query-timeout = \"10s\"\n", "").replace("  max-select-buckets = {buckets}\n", "").replace('  wal-dir', '  max-series-per-database = 0\n  max-values-per-tag = 0\n  wal-dir')
    ours_config = servers.OURS.replace('timeout = "10s"\n', "").replace("max_select_buckets = {buckets}\n", "")
    try:
        both = [servers.Server(command=[args.bin, "serve", "--config", "CONFIG"], config=ours_config, folder=base + "/ours"),
                servers.Server(command=[args.influxd, "run", "-config", "CONFIG"], config=config, folder=base + "/theirs")]
        ours, theirs = both
        cpus = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        print("machine   %d x %s, %s" % (os.cpu_count(), cpus[0] if cpus else platform.processor(), platform.release()))
        print("command   %s" % " ".join(sys.argv))
        for name, server in zip(("ours", "influxd"), both):
            server.query("CREATE DATABASE " + servers.DATABASE)
            for what, bodies in (("cpu", batches(args.hours)), ("wide", tag_batches(args.values))):
                began, spent = time.time(), 0.0
                before = cpu_s(server.process.pid)
                for body in bodies:
                    sent = time.time()
                    while True:
                        status, answer = server.request("POST", "/write", {"db": servers.DATABASE}, body)
                        if status == 204:
                            break
                        if status not in (429, 503):
                            raise SystemExit("%s: %s %s" % (name, status, answer[:300]))
                        time.sleep(0.1)
                    spent += time.time() - sent
                print("loaded    %-8s %-5s %6.1f s waited for, %6.1f s of its processor" % (name, what, spent, cpu_s(server.process.pid) - before))
                del began
        settle(both)
        print("\n%-42s %10s %10s %7s   %10s %10s %7s  answers" % ("query (medians, ms)", "ours", "influxd", "ratio", "ours CPU", "theirs CPU", "ratio"))
        wall_ratios, cpu_ratios, bad = [], [], 0
        rng = random.Random(args.seed)
        for name, text in queries(args.hours):
            texts = [text.format(**parameters(rng, args.hours)) for _ in range(args.repeat)]
            results = [measure(server, texts) for server in both]
            (wall_a, cpu_a, a), (wall_b, cpu_b, b) = results
            equal = all(x[0] == y[0] and servers.same(json.loads(x[1]), json.loads(y[1])) for x, y in zip(a, b))
            wall_ratios.append(wall_b / wall_a)
            cpu_ratios.append(cpu_b / max(cpu_a, 1e-9))
            bad += (not equal) + (wall_b < wall_a or cpu_b < cpu_a)
            print("%-42s %10.2f %10.2f %6.1fx   %10.2f %10.2f %6.1fx  %s" % (name, wall_a * 1e3, wall_b * 1e3, wall_ratios[-1], cpu_a * 1e3, cpu_b * 1e3, cpu_ratios[-1], "equal" if equal else "DIFFER"), flush=True)
            if not equal:
                x, y, t = next((x, y, t) for x, y, t in zip(a, b, texts) if not servers.same(json.loads(x[1]), json.loads(y[1])))
                print("    %s\n    %s\n    %s" % (t, x[1][:300], y[1][:300]))
        print("median of the ratios: %.1fx by the clock, %.1fx by the processor; least %.1fx and %.1fx" % (
            statistics.median(wall_ratios), statistics.median(cpu_ratios), min(wall_ratios), min(cpu_ratios)))
        text = "SHOW TAG VALUES FROM wide WITH KEY = id"
        results = [measure(server, [text] * 3) for server in both]
        equal = servers.same(json.loads(results[0][2][0][1]), json.loads(results[1][2][0][1]))
        (wall_a, cpu_a, _), (wall_b, cpu_b, _) = results
        print("%-42s %10.2f %10.2f %6.1fx   %10.2f %10.2f %6.1fx  %s" % ("SHOW TAG VALUES, %d values" % args.values, wall_a * 1e3, wall_b * 1e3, wall_b / wall_a, cpu_a * 1e3, cpu_b * 1e3, cpu_b / cpu_a, "equal" if equal else "DIFFER"))
        return 1 if bad or not equal else 0
    finally:
        for server in both:
            server.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
