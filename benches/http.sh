#!/bin/sh
# What dyno-server adds to HTTP/2: a server whose model does nothing beside bare hyper, both on one core, driven
# by h2load from another core. The rounds take turns; what counts is the median of the ratios.
#
#   benches/http.sh                        # needs h2load (Debian: nghttp2-client) and two cores
#   ROUNDS=9 SECONDS_EACH=5 CLIENTS=32 STREAMS=4 BYTES=14000 SERVER_CORE=0 LOAD_CORE=1 benches/http.sh
set -eu
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-3}
clients=${CLIENTS:-32}
streams=${STREAMS:-4}
bytes=${BYTES:-14000}
server_core=${SERVER_CORE:-0}
load_core=${LOAD_CORE:-1}
profile=${PROFILE:-release}
hash=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

command -v h2load >/dev/null || { echo "h2load is missing: apt-get install nghttp2-client" >&2; exit 1; }
cargo build --profile "$profile" -p dyno-server --examples
target=${CARGO_TARGET_DIR:-target}/$(test "$profile" = dev && echo debug || echo "$profile")/examples
work=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || true; rm -rf "$work"' EXIT
head -c "$bytes" /dev/zero > "$work/body"

# start NAME COMMAND...: its address in $work/NAME.
start() {
    name=$1; shift
    : > "$work/$name.out"
    taskset -c "$server_core" "$@" > "$work/$name.out" &
    pids="$pids $!"
    for _ in $(seq 100); do
        address=$(sed -n 's/^listening on //p' "$work/$name.out")
        [ -n "$address" ] && break
        sleep 0.1
    done
    [ -n "$address" ] || { echo "$name did not start" >&2; exit 1; }
    echo "$address" > "$work/$name"
}

# As a service runs: its log is off here, for a line a request is another measurement (RUST_LOG=info).
RUST_LOG=${RUST_LOG:-error}
export RUST_LOG
start identity "$target/identity" --bundles unused --listen 127.0.0.1:0 \
    --max-in-flight $((clients * streams + 1)) --workers "${WORKERS:-1}"
start bare_hyper "$target/bare_hyper"

# measure NAME: requests a second.
measure() {
    taskset -c "$load_core" h2load -c "$clients" -m "$streams" -t 1 -D "$seconds" --warm-up-time 1 \
        -d "$work/body" -H "content-type: application/vnd.dyno.activation" -H "dyno-bundle: $hash" \
        "http://$(cat "$work/$1")/v1/models/identity/infer" > "$work/h2load"
    awk '/^status codes:/ { ok = $3; other = $5 + $7 + $9 } /^finished in/ { rate = $4 }
        END { if (ok == 0 || other > 0) exit 1; print rate }' "$work/h2load" ||
        { echo "$1 answered otherwise than 200:" >&2; cat "$work/h2load" >&2; exit 1; }
}

echo "$clients connections, $streams streams each, bodies of $bytes bytes; a core each for server and h2load"
for round in $(seq "$rounds"); do
    if [ $((round % 2)) -eq 0 ]; then
        bare=$(measure bare_hyper); ours=$(measure identity)
    else
        ours=$(measure identity); bare=$(measure bare_hyper)
    fi
    echo "$ours $bare" | awk '{ printf "%s %s %.3f\n", $1, $2, $2 / $1 }' | tee -a "$work/rounds" |
        sed 's/^/dyno-server, bare hyper (requests a second), ratio: /'
done
median() { cut -d ' ' -f "$1" "$work/rounds" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "median: dyno-server $(median 1) requests a second, bare hyper $(median 2), bare/ours $(median 3)"
