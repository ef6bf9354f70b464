#!/usr/bin/env bash
# Memory of dyno-server with one worker, a model at a time: weights, then resident and highest resident memory once all tails are
# ready, and after load at capacity (all cuts, 16 levels). MB are 10^6 bytes, from /proc.
#
#   benches/memory.sh PHOTOS BUNDLE...       # a folder of photos, prepared bundles
#   HUGE_PAGES=off SECONDS_EACH=20 benches/memory.sh PHOTOS BUNDLE...
set -euo pipefail
photos=$(realpath "${1:?a folder of photos}")
shift
bundles=()
for bundle in "$@"; do bundles+=("$(realpath "$bundle")"); done
cd "$(dirname "$0")/.."
: "${ORT_DYLIB_PATH:=$PWD/.dyno/onnxruntime/libonnxruntime.so}"
export ORT_DYLIB_PATH

cargo build --release -p dyno-cli -p dyno-server
target=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT

memory() { # in MB: resident now, and at most so far
    awk '/^VmRSS/ { now = $2 } /^VmHWM/ { most = $2 } END { printf "%7.0f %7.0f", now * 1.024e-3, most * 1.024e-3 }' \
        "/proc/$server/status"
}

printf '%-20s %8s  %15s  %15s\n' '' '' 'ready' 'after load'
printf '%-20s %8s  %7s %7s  %7s %7s\n' model weights now most now most
for bundle in "${bundles[@]}"; do
    model=$(basename "$bundle")
    rm -rf "${folder:?}"/*
    mkdir "$folder/bundles"
    cp -r "$bundle" "$folder/bundles/"
    "$target/dyno-server" --bundles "$folder/bundles" --listen 127.0.0.1:0 --workers 1 --threads 1 --huge-pages "${HUGE_PAGES:-on}" \
        --max-queue-wait 10s --max-connections-per-address 1024 >"$folder/address" 2>"$folder/log" &
    server=$!
    until grep -qs 'server: ready' "$folder/log"; do
        kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
        sleep 0.2
    done
    ready=$(memory)
    "$target/dyno" bench server --server "http://$(awk '{ print $3; exit }' "$folder/address")" --pid "$server" \
        --bundle "$bundle" --images "$photos" --saturate --in-flight 64 --levels 16 --codecs lz4 \
        --seconds "${SECONDS_EACH:-20}" --json >"$folder/report" 2>"$folder/bench-log" || { cat "$folder/bench-log" >&2; exit 1; }
    weights=$(stat -c %s "$bundle/weights.bin" 2>/dev/null || echo 0)
    printf '%-20s %8.0f  %s  %s\n' "$model" "$(awk -v b="$weights" 'BEGIN { print b / 1e6 }')" "$ready" "$(memory)"
    kill "$server"
    wait "$server" || true
done
