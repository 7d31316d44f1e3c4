#!/usr/bin/env bash
# InfluxDB's own clients against a server with authentication: each writes, reads the same back, and meets a clear error.
#
#   cargo build --release
#   tests/live/influx-clients.sh [path to rhythmite] [folder for clients, kept between runs]
#
# Debian's influxdb-client (influx) if it is there; PyPI's influxdb, influxdb-client and influxdb3-python in a venv; npm's
# influx if there is npm. Everything listens on loopback; nothing but the given folder is left behind.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
server_binary=${1:-$here/../../target/release/rhythmite}
[ -x "$server_binary" ] || { echo "missing: $server_binary"; exit 2; }

dir=$(mktemp -d)
clients=${2:-$dir/clients}
server=
cleanup() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; fi
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
port=$(free_port)
export URL=http://127.0.0.1:$port HOST=127.0.0.1 PORT=$port

mkdir -p "$clients"
if [ ! -x "$clients/venv/bin/python" ]; then
    python3 -m venv "$clients/venv"
    "$clients/venv/bin/pip" install -q influxdb influxdb-client influxdb3-python
fi
if command -v npm > /dev/null && [ ! -d "$clients/node_modules/influx" ]; then
    (cd "$clients" && npm install --silent --no-fund --no-audit influx > /dev/null)
fi

cat > "$dir/rhythmite.toml" <<TOML
data_dir = "$dir/data"
[http]
listen = "127.0.0.1:$port"
[auth]
enabled = true
TOML
ROOT=$("$server_binary" token create root --admin --config "$dir/rhythmite.toml")
READER=$("$server_binary" token create reader --read live --config "$dir/rhythmite.toml")
export ROOT READER
"$server_binary" serve --config "$dir/rhythmite.toml" > "$dir/log" 2>&1 &
server=$!
for _ in $(seq 200); do
    [ "$(curl -s -o "$dir/ready" -w '%{http_code}' "$URL/ready")" = 200 ] && break
    sleep 0.1
done

ask() { curl -sf "$URL/query" -H "Authorization: Token $ROOT" --data-urlencode "q=$1" > "$dir/answer"; }
ask "CREATE USER ada WITH PASSWORD 'pada'; CREATE USER bob WITH PASSWORD 'pbob'"
ask "GRANT ALL ON live TO ada; GRANT READ ON live TO bob"

passed=0 failed=0
run() {
    local name=$1
    shift
    if "$@" > "$dir/out" 2>&1; then
        passed=$((passed + 1)) && echo "ok      $name"
    else
        failed=$((failed + 1)) && echo "FAILED  $name" && sed 's/^/        /' "$dir/out" | tail -20
    fi
}

shell() {
    local influx=(influx -host "$HOST" -port "$PORT" -precision s)
    "${influx[@]}" -username ada -password pada -database live -execute 'INSERT shell,host=a v=1.5,n=2i 10' > /dev/null
    local got
    got=$("${influx[@]}" -username bob -password pbob -database live -format csv -execute 'SELECT * FROM shell')
    [ "$got" = "$(printf 'name,time,host,n,v\nshell,10,a,2,1.5')" ] || { echo "read: $got"; return 1; }
    # The shell says what is wrong, and some versions end with status 0 all the same.
    got=$("${influx[@]}" -username bob -password pbob -database live -execute 'INSERT shell v=1 10' 2>&1 || true)
    case $got in *'user is not authorized to write to database'*) ;; *) echo "write: $got"; return 1 ;; esac
    got=$("${influx[@]}" -username bob -password wrong -database live -execute 'SHOW MEASUREMENTS' 2>&1 || true)
    case $got in *'authorization failed'*) ;; *) echo "log-in: $got"; return 1 ;; esac
}

if command -v influx > /dev/null; then run "influx, the shell of 1.x" shell; else echo "missing influx"; fi
for client in influxdb influxdb_client influxdb3; do
    run "python $client" "$clients/venv/bin/python" "$here/influx_clients.py" "$client"
done
if command -v npm > /dev/null; then
    run "node influx" env NODE_PATH="$clients/node_modules" node "$here/influx_clients.js"
else
    echo "missing npm"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
