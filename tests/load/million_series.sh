#!/usr/bin/env bash
# 20 million points in a million series through carbon's line port: memory stays bounded, the server answers.
#
#   cargo build --release
#   tests/load/million_series.sh [path to rhythmite]
#
# Needs python3 (to make the lines) and curl. Prints resident memory and what was accepted.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
server_binary=${1:-$here/target/release/rhythmite}
limit_kib=$((2560 * 1024))
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; }; rm -rf "$dir"' EXIT

http=$((20000 + RANDOM % 20000))
line=$((http + 1))
cat > "$dir/rhythmite.toml" <<TOML
data_dir = "$dir/data"
[http]
listen = "127.0.0.1:$http"
[carbon]
line_listen = "127.0.0.1:$line"
TOML
"$server_binary" serve --config "$dir/rhythmite.toml" > "$dir/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$http/ready" > /dev/null 2>&1 && break; sleep 0.1; done

python3 - "$line" <<'PY' &
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
start = int(time.time()) // 10 * 10 - 200
for round in range(20):
    stamp = start + round * 10
    for first in range(0, 1_000_000, 10_000):
        s.sendall("".join(f"load.group{i % 100:02d}.host{i // 100:05d}.cpu.idle {i % 97} {stamp}\n"
                          for i in range(first, first + 10_000)).encode())
s.shutdown(socket.SHUT_WR)
s.recv(1)
PY
sender=$!

peak=0
while kill -0 "$sender" 2>/dev/null; do
    rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$server/status")
    [ "$rss" -gt "$peak" ] && peak=$rss
    sleep 1
done
wait "$sender"
count() {
    curl -fsG "http://127.0.0.1:$http/api/v3/query_sql" --data-urlencode db=graphite --data-urlencode format=csv \
        --data-urlencode "q=SELECT count(*) FROM metrics WHERE graphite_glob(path, 'load.group*.host*.cpu.idle')" | tail -1
}
points=$(count)
rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$server/status")
hwm=$(awk '/^VmHWM/ { print $2 }' "/proc/$server/status")
cpu=$(awk '{ print ($14 + $15) / 100 }' "/proc/$server/stat")
echo "points stored: $points; resident: $((rss / 1024)) MiB now, $((hwm / 1024)) MiB at most; server CPU: $cpu s"
[ "$points" = 20000000 ] || { echo "FAILED: 20000000 were sent"; exit 1; }
[ "$hwm" -lt "$limit_kib" ] || { echo "FAILED: more than $((limit_kib / 1024)) MiB"; exit 1; }
