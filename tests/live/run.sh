#!/usr/bin/env bash
# A real collectd and a real StatsD client feed a server; SQL, InfluxQL and /render answer from that data, also after
# a restart.
#
#   cargo build --release
#   tests/live/run.sh [path to rhythmite]
#
# Needs Debian's collectd-core (collectd), influxdb-client (influx) and curl; the StatsD client is PyPI's `statsd` when
# python3 has it, else lines by bash's /dev/udp. Everything listens on loopback; nothing is left behind.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
server_binary=${1:-$here/target/release/rhythmite}
collectd=$(command -v collectd || echo /usr/sbin/collectd)
for tool in "$server_binary" "$collectd" "$(command -v influx || echo influx)" "$(command -v curl || echo curl)"; do
    [ -x "$tool" ] || { echo "missing: $tool"; exit 2; }
done

dir=$(mktemp -d)
server= collector=
cleanup() {
    for pid in $collector $server; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap cleanup EXIT

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
http=$(free_port) line=$(free_port) statsd=$(free_port)
url=http://127.0.0.1:$http

cat > "$dir/rhythmite.toml" <<TOML
data_dir = "$dir/data"
[http]
listen = "127.0.0.1:$http"
[graphite]
storage_schemas = "$dir/storage-schemas.conf"
[carbon]
line_listen = "127.0.0.1:$line"
[statsd]
udp_listen = "127.0.0.1:$statsd"
flush_interval = 1000
[self]
interval = "1s"
TOML
printf '[all]\npattern = .*\nretentions = 1s:1h,1m:1d\n' > "$dir/storage-schemas.conf"
cat > "$dir/collectd.conf" <<CONF
Hostname "live"
FQDNLookup false
Interval 1
BaseDir "$dir"
PIDFile "$dir/collectd.pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin cpu
LoadPlugin memory
LoadPlugin load
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "rhythmite">
    Host "127.0.0.1"
    Port "$line"
    Protocol "tcp"
    Prefix "collectd."
  </Node>
</Plugin>
CONF

start() {
    "$server_binary" serve --config "$dir/rhythmite.toml" >> "$dir/server.log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        curl -fs "$url/ready" > /dev/null 2>&1 && return
        kill -0 "$server" 2>/dev/null || { cat "$dir/server.log"; exit 1; }
        sleep 0.1
    done
    echo "not ready after 10 s"; cat "$dir/server.log"; exit 1
}

fail() { echo "FAILED: $1"; exit 1; }

sql() { curl -fsG "$url/api/v3/query_sql" --data-urlencode "db=graphite" --data-urlencode "format=csv" --data-urlencode "q=$1"; }
render() { curl -fsG "$url/render" --data-urlencode "target=$1" --data-urlencode "from=-5min" --data-urlencode "format=raw"; }
influxql() { influx -host 127.0.0.1 -port "$http" -database graphite -format csv -execute "$1"; }

ask() {
    echo "-- SQL"
    rows=$(sql "SELECT graphite_node(path, 2) AS plugin, count(*) AS points FROM metrics WHERE graphite_glob(path, 'collectd.live.**') GROUP BY 1 ORDER BY 1")
    echo "$rows"
    [ "$(sql "SELECT count(*) FROM metrics WHERE graphite_glob(path, 'collectd.live.load.load.shortterm')" | tail -1)" -ge 3 ] ||
        fail "SQL does not find collectd's load"
    echo "-- InfluxQL, by Debian's influx shell"
    influxql "SELECT count(value), mean(value) FROM metrics WHERE path = 'collectd.live.memory.memory-used'" | tee "$dir/influx.out"
    awk -F, 'NR == 2 && $3 >= 3 { found = 1 } END { exit !found }' "$dir/influx.out" || fail "InfluxQL does not find collectd's memory"
    echo "-- /render"
    # Values stand behind the bar; before it are times. The answer is held first: grep would not read all of a pipe.
    rendered=$(render "collectd.live.load.load.shortterm")
    cut -c1-160 <<< "$rendered"
    grep -Eq '\|.*[0-9]' <<< "$rendered" || fail "/render does not find collectd's load"
    rendered=$(render "stats_counts.shop.orders")
    grep -Eq '\|.*[1-9]' <<< "$rendered" || fail "/render does not find StatsD's counter"
    echo "StatsD counted $(sql "SELECT sum(value) FROM metrics WHERE path = 'stats_counts.shop.orders'" | tail -1) orders"
}

start
sed -n '1,20p' "$dir/server.log"
"$collectd" -f -C "$dir/collectd.conf" > "$dir/collectd.log" 2>&1 &
collector=$!

echo "-- sending 100 orders"
if python3 -c 'import statsd' 2>/dev/null; then
    python3 - "$statsd" <<'PY'
import statsd, sys
client = statsd.StatsClient("127.0.0.1", int(sys.argv[1]))
for i in range(100):
    client.incr("shop.orders")
    client.timing("shop.checkout", 100 + i)
client.gauge("shop.open_carts", 7)
PY
else
    for i in $(seq 100); do echo "shop.orders:1|c" > "/dev/udp/127.0.0.1/$statsd"; done
fi
sleep 8
ask

echo "== restart"
kill -TERM "$server"
wait "$server" || fail "the server did not end cleanly"
kill "$collector"; wait "$collector" 2>/dev/null || true
collector=
start
ask
orders=$(sql "SELECT sum(value) FROM metrics WHERE path = 'stats_counts.shop.orders'" | tail -1)
[ "${orders%.*}" = 100 ] || fail "100 orders were sent, $orders are there"
echo "everything is there"
