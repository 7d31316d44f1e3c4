#!/usr/bin/env bash
# Many series through carbon's line port: memory stays bounded, the server answers, and a restart is quick.
#
#   cargo build --release
#   tests/load/million_series.sh [path to rhythmite]
#   SERIES=10000000 ROUNDS=3 RSS_MAX_MIB=8192 RESTART_MAX_S=30 tests/load/million_series.sh
#
# SERIES (1,000,000) and ROUNDS (20) say what is sent: a point of each series in each round. With BASE_SERIES=10000 as many
# points of so few series are sent to another server first: the time per point may be twice as long with many (RATE_PART=2),
# in seconds of the processor, since the machine may have other work.
#
# Needs python3 (to make the lines) and curl. Prints resident memory, what was accepted, and how long the restart took.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
server_binary=${1:-$here/target/release/rhythmite}
series=${SERIES:-1000000}
rounds=${ROUNDS:-20}
limit_kib=$((${RSS_MAX_MIB:-2560} * 1024))
restart_max_s=${RESTART_MAX_S:-30}
base_series=${BASE_SERIES:-0}
rate_part=${RATE_PART:-2}
dir=$(mktemp -d)
server=
failed=0
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; server=; }; }
trap 'stop; rm -rf "$dir"' EXIT

http=$((20000 + RANDOM % 20000))
line=$((http + 1))
cat > "$dir/rhythmite.toml" <<TOML
data_dir = "$dir/data"
[http]
listen = "127.0.0.1:$http"
[carbon]
line_listen = "127.0.0.1:$line"
TOML

start() {
    "$server_binary" serve --config "$dir/rhythmite.toml" >> "$dir/server.log" 2>&1 &
    server=$!
    for _ in $(seq 3000); do
        [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$http/ready")" = 200 ] && return
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    tail "$dir/server.log"
    exit 1
}
status_kib() { awk -v key="^$1:" '$0 ~ key { print $2 }' "/proc/$server/status"; }
cpu_s() { awk '{ print ($14 + $15) / 100 }' "/proc/$server/stat"; }
bad() { echo "FAILED: $1"; failed=1; }

# send SERIES ROUNDS: returns when the server has taken everything.
send() {
    python3 - "$line" "$1" "$2" <<'PY'
import socket, sys, time
port, series, rounds = map(int, sys.argv[1:])
s = socket.create_connection(("127.0.0.1", port))
start = int(time.time()) // 10 * 10 - rounds * 10
for round in range(rounds):
    stamp = start + round * 10
    for first in range(0, series, 10_000):
        s.sendall("".join(f"load.group{i % 100:02d}.host{i // 100:06d}.cpu.idle {i % 97} {stamp}\n"
                          for i in range(first, min(first + 10_000, series))).encode())
s.shutdown(socket.SHUT_WR)
s.recv(1)
PY
}
count() {
    curl -fsG "http://127.0.0.1:$http/api/v3/query_sql" --data-urlencode db=graphite --data-urlencode format=csv \
        --data-urlencode "q=SELECT count(*) FROM metrics WHERE graphite_glob(path, 'load.group*.host*.cpu.idle')" | tail -1
}

base_cpu=
if [ "$base_series" -gt 0 ]; then
    start
    send "$base_series" $((series * rounds / base_series))
    base_cpu=$(cpu_s)
    echo "$base_series series, $((series * rounds)) points: server CPU $base_cpu s"
    stop
    rm -rf "$dir/data"
fi

start
begin=$SECONDS
send "$series" "$rounds"
cpu=$(cpu_s)
echo "$series series, $((series * rounds)) points sent in $((SECONDS - begin)) s; server CPU $cpu s, resident $(($(status_kib VmRSS) / 1024)) MiB"
points=$(count)
hwm=$(status_kib VmHWM)
disk=$(du -sm "$dir/data" | cut -f1)
echo "points stored: $points; resident: $(($(status_kib VmRSS) / 1024)) MiB now, $((hwm / 1024)) MiB at most; disk: $disk MiB"
[ "$points" = $((series * rounds)) ] || bad "$((series * rounds)) were sent"
[ "$hwm" -lt "$limit_kib" ] || bad "more than $((limit_kib / 1024)) MiB"
if [ -n "$base_cpu" ]; then
    awk -v a="$cpu" -v b="$base_cpu" -v part="$rate_part" 'BEGIN { printf "time per point: times %.2f\n", a / b; exit a > b * part }' ||
        bad "slower than with $base_series series by more than $rate_part"
fi

stop
begin=$(date +%s.%N)
start
took=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
echo "restart: $took s, server CPU $(cpu_s) s, resident $(($(status_kib VmRSS) / 1024)) MiB, at most $(($(status_kib VmHWM) / 1024)) MiB"
awk -v took="$took" -v max="$restart_max_s" 'BEGIN { exit took > max }' || bad "a restart takes longer than $restart_max_s s"
[ "$(count)" = "$points" ] || bad "other points after the restart"
exit "$failed"
