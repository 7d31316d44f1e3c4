#!/usr/bin/env bash
# Real senders, one after the other: collectd (network plain, signed, encrypted; write_graphite; write_http), StatsD and
# DogStatsD clients, graphyte, carbon's relay in front of a server, and a carbon-cache behind the server's own relay.
#
#   cargo build
#   tests/live/receivers.sh [path to rhythmite] [python with statsd, datadog, graphyte, carbon] [node_modules with hot-shots]
#
# Needs Debian's collectd-core and curl, and python3; what of the packages of PyPI and npm is missing, and carbon-c-relay if
# it is not installed, is said and left out. Everything listens on loopback; nothing is left behind.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
server_binary=${1:-$here/target/debug/rhythmite}
python=${2:-python3}
modules=${3:-$here/node_modules}
collectd=$(command -v collectd || echo /usr/sbin/collectd)
for tool in "$server_binary" "$(command -v curl || echo curl)" "$(command -v "$python" || echo "$python")"; do
    [ -x "$tool" ] || { echo "missing: $tool"; exit 2; }
done

dir=$(mktemp -d)
pids=()
end() { for pid in "$@"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; }
trap 'end "${pids[@]}"; rm -rf "$dir"' EXIT
passed=0 failed=0 left_out=0
ok() { passed=$((passed + 1)); echo "ok   $1"; }
no() { failed=$((failed + 1)); echo "FAIL $1"; }
skip() { left_out=$((left_out + 1)); echo "left out: $1"; }
has() { "$python" -c "import $1" 2>/dev/null; }

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}
http=$(free_port) line=$(free_port) pickle=$(free_port) statsd=$(free_port) plain=$(free_port) signed=$(free_port)
encrypted=$(free_port) measured=$(free_port) relay=$(free_port) behind=$(free_port) behind_pickle=$(free_port)
front=$(free_port) front_pickle=$(free_port)
url=http://127.0.0.1:$http

printf '[all]\npattern = .*\nretentions = 1s:1d\n' > "$dir/schemas.conf"
echo "live: secret word" > "$dir/auth"
cat > "$dir/rhythmite.toml" <<TOML
data_dir = "$dir/data"
[http]
listen = "127.0.0.1:$http"
[graphite]
storage_schemas = "$dir/schemas.conf"
[carbon]
line_listen = "127.0.0.1:$line"
pickle_listen = "127.0.0.1:$pickle"
[statsd]
udp_listen = "127.0.0.1:$statsd"
unixgram_listen = "$dir/dog.sock"
dialect = "dogstatsd"
flush_interval = 1000
[collectd]
auth_file = "$dir/auth"
[collectd.graphite]
prefix = "http."
[[collectd.listener]]
udp_listen = "127.0.0.1:$plain"
graphite = { prefix = "net." }
[[collectd.listener]]
udp_listen = "127.0.0.1:$signed"
security_level = "sign"
graphite = { prefix = "signed." }
[[collectd.listener]]
udp_listen = "127.0.0.1:$encrypted"
security_level = "encrypt"
graphite = { prefix = "encrypted." }
[[collectd.listener]]
udp_listen = "127.0.0.1:$measured"
names = "measurements"
database = "machines"
[relay]
line_listen = "127.0.0.1:$relay"
destinations = ["127.0.0.1:$behind_pickle:a"]
TOML
"$server_binary" serve --config "$dir/rhythmite.toml" > "$dir/server.log" 2>&1 &
pids+=($!)
for _ in $(seq 300); do curl -fs "$url/ready" > /dev/null 2>&1 && break; sleep 0.1; done
curl -fs "$url/ready" > /dev/null || { cat "$dir/server.log"; exit 1; }

# Whether a target has a value within so many seconds.
arrives() {
    local answer
    for _ in $(seq "$((${2:-20} * 2))"); do
        answer=$(curl -fsG "$url/render" --data-urlencode "target=$1" -d from=-10min -d format=raw || true)
        grep -Eq '\|.*[0-9]' <<< "$answer" && return 0
        sleep 0.5
    done
    return 1
}
expect() { if arrives "$2" "${3:-20}"; then ok "$1"; else no "$1"; fi; }

network() { # name, port, security lines
    cat <<CONF
<Plugin network>
  <Server "127.0.0.1" "$1">
    $2
  </Server>
</Plugin>
CONF
}
if [ -x "$collectd" ]; then
    # The plugin may be there without the library of JSON that it needs.
    by_http=yes
    if ldd /usr/lib/collectd/write_http.so 2>/dev/null | grep -q 'not found'; then by_http=; fi
    user='Username "live"
    Password "secret word"'
    {
        cat <<CONF
Hostname "live.example.org"
FQDNLookup false
Interval 1
BaseDir "$dir"
PIDFile "$dir/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin cpu
LoadPlugin load
LoadPlugin interface
LoadPlugin network
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "a">
    Host "127.0.0.1"
    Port "$line"
    Prefix "write_graphite."
  </Node>
</Plugin>
CONF
        if [ -n "$by_http" ]; then
            cat <<CONF
LoadPlugin write_http
<Plugin write_http>
  <Node "a">
    URL "$url/collectd"
    Format "JSON"
  </Node>
</Plugin>
CONF
        fi
        network "$plain" 'SecurityLevel "None"'
        network "$signed" "SecurityLevel \"Sign\"
    $user"
        network "$encrypted" "SecurityLevel \"Encrypt\"
    $user"
        network "$measured" 'SecurityLevel "None"'
    } > "$dir/collectd.conf"
    "$collectd" -f -C "$dir/collectd.conf" > "$dir/collectd.log" 2>&1 &
    collector=$!
    pids+=("$collector")
    expect "collectd, network" net.live_example_org.load.load.shortterm
    expect "collectd, network, a rate" 'net.live_example_org.cpu-0.cpu-idle'
    expect "collectd, network, signed" signed.live_example_org.load.load.shortterm
    expect "collectd, network, encrypted" encrypted.live_example_org.load.load.shortterm
    if [ -n "$by_http" ]; then
        expect "collectd, write_http" http.live_example_org.load.load.shortterm 40
    else
        skip "collectd, write_http (libyajl2)"
    fi
    expect "collectd, write_graphite" write_graphite.live_example_org.load.load.shortterm
    rows=$(curl -fsG "$url/query" -d db=machines --data-urlencode "q=SELECT count(shortterm) FROM load WHERE host = 'live.example.org'")
    if grep -q '"values"' <<< "$rows"; then ok "collectd, measurements"; else no "collectd, measurements: $rows"; fi
    # Signed data arrives where signatures are asked for; nothing was refused anywhere.
    refused=$(curl -fs "$url/metrics" | awk '/^rhythmite_collectd_rejected_total/ { n += $2 } END { print n }')
    if [ "$refused" = 0 ]; then ok "collectd, nothing refused"; else no "collectd, $refused refused"; fi
    end "$collector"
else
    skip "collectd"
fi

if has statsd; then
    "$python" - "$statsd" <<'PY'
import statsd, sys
client = statsd.StatsClient("127.0.0.1", int(sys.argv[1]))
with client.pipeline() as pipe:
    for i in range(100):
        pipe.incr("shop.orders")
        pipe.timing("shop.checkout", 100 + i)
    pipe.gauge("shop.carts", 7)
    pipe.set("shop.users", "me")
PY
    expect "statsd, counter" stats_counts.shop.orders
    expect "statsd, timer" stats.timers.shop.checkout.upper_90
    expect "statsd, gauge" stats.gauges.shop.carts
    expect "statsd, set" stats.sets.shop.users.count
else
    skip "statsd (PyPI)"
fi

if has datadog; then
    "$python" - "$statsd" "$dir/dog.sock" <<'PY'
import sys
from datadog.dogstatsd import DogStatsd
for client in [DogStatsd(host="127.0.0.1", port=int(sys.argv[1])), DogStatsd(socket_path=sys.argv[2], namespace="unix")]:
    client.increment("dog.bark", tags=["kind:loud"])
    client.distribution("dog.run", 12.5)
    client.gauge("dog.age", 3)
    client.service_check("dog.alive", 1, message="asleep", tags=["room:2"])
    client.event("dog", "has eaten", alert_type="info")
    client.flush()
PY
    expect "datadog, tagged counter" "seriesByTag('name=stats_counts.dog.bark','kind=loud')"
    expect "datadog, distribution" stats.timers.dog.run.mean
    expect "datadog, service check" "seriesByTag('name=stats.checks.dog.alive','room=2')"
    expect "datadog, unix socket" stats.gauges.unix.dog.age
    # By UDP and by the socket.
    told() { curl -fsG "$url/events/get_data" -d tags=alert_type:info | grep -o '"has eaten"' | wc -l; }
    for _ in $(seq 40); do [ "$(told)" = 2 ] && break; sleep 0.5; done
    if [ "$(told)" = 2 ]; then ok "datadog, events"; else no "datadog, events: $(told) of 2"; fi
else
    skip "datadog (PyPI)"
fi

if command -v node > /dev/null && [ -d "$modules/hot-shots" ]; then
    NODE_PATH=$modules node - "$statsd" <<'JS'
const { StatsD } = require("hot-shots");
const client = new StatsD({ host: "127.0.0.1", port: +process.argv[2], prefix: "hot.", globalTags: { env: "prod" } });
for (let i = 0; i < 100; i++) client.increment("shots", 1, 1, { kind: "double" });
client.gauge("glasses", 7);
client.timing("pouring", 12.5);
client.distribution("size", 40);
client.unique("guests", "me");
client.check("bar.open", client.CHECKS.OK);
client.event("last round", "at eleven", { alert_type: "warning" }, { bar: "1" });
client.close();
JS
    expect "hot-shots, counter" "seriesByTag('name=stats_counts.hot.shots','kind=double','env=prod')"
    expect "hot-shots, gauge" "seriesByTag('name=stats.gauges.hot.glasses','env=prod')"
    expect "hot-shots, timer" "seriesByTag('name=stats.timers.hot.pouring.mean')"
    expect "hot-shots, distribution" "seriesByTag('name=stats.timers.hot.size.count')"
    expect "hot-shots, set" "seriesByTag('name=stats.sets.hot.guests.count')"
    expect "hot-shots, service check" "seriesByTag('name=~^stats.checks.*bar.open')"
    for _ in $(seq 40); do curl -fsG "$url/events/get_data" -d tags=bar:1 | grep -q 'last round' && break; sleep 0.5; done
    if curl -fsG "$url/events/get_data" -d tags=bar:1 | grep -q 'at eleven'; then ok "hot-shots, event"; else no "hot-shots, event"; fi
else
    skip "hot-shots (npm)"
fi

if has graphyte; then
    "$python" - "$line" <<'PY'
import graphyte, sys
graphyte.Sender("127.0.0.1", port=int(sys.argv[1]), prefix="graphyte").send("answer", 42, tags={"a": "b"})
PY
    expect "graphyte" "seriesByTag('name=graphyte.answer','a=b')"
else
    skip "graphyte (PyPI)"
fi

send_lines() { # port, prefix
    local now; now=$(date +%s)
    for n in $(seq 50); do echo "$2.n$n $n $now"; done > "/dev/tcp/127.0.0.1/$1"
}
carbon_conf() { # daemon, further lines
    mkdir -p "$dir/$1/conf" "$dir/$1/storage"
    cp "$dir/schemas.conf" "$dir/$1/conf/storage-schemas.conf"
    printf '[%s]\nUSER =\nLOG_DIR = %s\nSTORAGE_DIR = %s\nLOCAL_DATA_DIR = %s\nCONF_DIR = %s\nPID_DIR = %s\n%s\n' \
        "$1" "$dir/$1/log" "$dir/$1/storage" "$dir/$1/storage/whisper" "$dir/$1/conf" "$dir/$1" "$2" > "$dir/$1/conf/carbon.conf"
}
run_carbon() { # daemon: a directory of bin/ scripts lies beside python
    GRAPHITE_ROOT="$dir/$1" GRAPHITE_CONF_DIR="$dir/$1/conf" PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python \
        "$python" "$(dirname "$(command -v "$python")")/carbon-$1.py" --nodaemon --config "$dir/$1/conf/carbon.conf" start > "$dir/$1.log" 2>&1 &
    pids+=($!)
}
wait_port() {
    for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.1; done
    return 1
}

if has carbon && [ -e "$(dirname "$(command -v "$python")")/carbon-relay.py" ]; then
    carbon_conf relay "LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = $front
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = $front_pickle
RELAY_METHOD = consistent-hashing
DESTINATIONS = 127.0.0.1:$pickle:a"
    run_carbon relay
    if wait_port "$front"; then
        send_lines "$front" front
        expect "carbon-relay in front" front.n50 40
    else
        no "carbon-relay does not start: $(tail -3 "$dir/relay.log")"
    fi

    # The server's relay has been trying all the while; what comes before the cache is there waits.
    send_lines "$relay" early
    carbon_conf cache "LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = $behind
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = $behind_pickle
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = $(free_port)
MAX_CREATES_PER_MINUTE = inf"
    run_carbon cache
    if wait_port "$behind_pickle"; then
        send_lines "$relay" late
        for _ in $(seq 120); do
            files=$({ find "$dir/cache/storage/whisper" -path '*early/*.wsp' -o -path '*late/*.wsp' 2>/dev/null || true; } | wc -l)
            [ "$files" = 100 ] && break
            sleep 0.5
        done
        if [ "$files" = 100 ]; then ok "carbon-cache behind the relay"; else no "carbon-cache behind the relay: $files of 100"; fi
    else
        no "carbon-cache does not start: $(tail -3 "$dir/cache.log")"
    fi
else
    skip "carbon (PyPI)"
fi

if command -v carbon-c-relay > /dev/null; then
    c_relay=$(free_port)
    printf 'listen type linemode %s proto tcp ;\ncluster rhythmite forward 127.0.0.1:%s ;\nmatch * send to rhythmite stop ;\n' \
        "$c_relay" "$line" > "$dir/c-relay.conf"
    carbon-c-relay -f "$dir/c-relay.conf" > "$dir/c-relay.log" 2>&1 &
    pids+=($!)
    if wait_port "$c_relay"; then
        send_lines "$c_relay" crelay
        expect "carbon-c-relay in front" crelay.n50 40
    else
        no "carbon-c-relay does not start: $(tail -3 "$dir/c-relay.log")"
    fi
else
    skip "carbon-c-relay"
fi

echo "$passed passed, $failed failed, $left_out left out"
[ "$failed" = 0 ]
