#!/bin/sh
# dyno-server beside a FastAPI server that one writes in an afternoon (benches/fastapi/app.py): the same model, the
# same photo, the same cores, JPEG in and labels out, closed loop by h2load at several concurrencies.
#
#   benches/fastapi.sh                     # needs h2load (Debian: nghttp2-client), python3 with venv, and PyPI
#   MODEL=resnet18.onnx SIZE=224 MEAN=0.485,0.456,0.406 STD=0.229,0.224,0.225 PHOTO=photo.jpg benches/fastapi.sh
#   SERVER_CORES=0 LOAD_CORES=1 CONCURRENCIES="1 4 16" SECONDS_EACH=5 ROUNDS=3 benches/fastapi.sh
#
# Without MODEL it is the model that ships. With SERVER_CORES=0,1 and LOAD_CORES=0,1 both servers have two cores (which
# they share with h2load): FastAPI then runs a process for each, as its documentation has it.
set -eu
cd "$(dirname "$0")/.."

server_cores=${SERVER_CORES:-0}
load_cores=${LOAD_CORES:-1}
concurrencies=${CONCURRENCIES:-1 4 16}
seconds=${SECONDS_EACH:-5}
rounds=${ROUNDS:-3}
profile=${PROFILE:-release}
photo=${PHOTO:-models/samples/01_cross.jpg}
if [ -z "${MODEL:-}" ]; then
    MODEL=models/shapes12.onnx SIZE=128 MEAN=0.5,0.5,0.5 STD=0.25,0.25,0.25
fi
export MODEL SIZE MEAN STD
cores=$(echo "$server_cores" | tr ',' '\n' | wc -l)

command -v h2load >/dev/null || { echo "h2load is missing: apt-get install nghttp2-client" >&2; exit 1; }
cargo build --profile "$profile" -p dyno-cli -p dyno-server --bins
target=${CARGO_TARGET_DIR:-target}/$(test "$profile" = dev && echo debug || echo "$profile")
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}
venv=${VENV:-.dyno/fastapi}
[ -x "$venv/bin/uvicorn" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q -r benches/fastapi/requirements.txt; }

work=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || true; rm -rf "$work"' EXIT

cat > "$work/preprocess.toml" <<TOML
size = [$SIZE, $SIZE]
resize = "crop"
crop_fraction = 1.0
colour = "rgb"
layout = "nchw"
mean = [$MEAN]
std = [$STD]
TOML
mkdir "$work/bundles"
"$target/dyno" prepare "$MODEL" --preprocess "$work/preprocess.toml" --out "$work/bundles/model" > /dev/null

# A worker for each core with a thread of its own, on both sides.
taskset -c "$server_cores" env RUST_LOG=error "$target/dyno-server" --bundles "$work/bundles" --listen 127.0.0.1:0 \
    --workers "$cores" --threads 1 --max-in-flight 256 --max-queue-wait 10s > "$work/dyno.out" &
pids="$pids $!"
port=${FASTAPI_PORT:-8478}
taskset -c "$server_cores" env THREADS=1 "$venv/bin/uvicorn" --app-dir benches/fastapi app:app --port "$port" \
    --workers "$cores" --log-level warning --no-access-log > "$work/fastapi.out" 2>&1 &
pids="$pids $!"
for _ in $(seq 200); do
    dyno=$(sed -n 's/^listening on //p' "$work/dyno.out")
    [ -n "$dyno" ] && curl -sf --http2-prior-knowledge "http://$dyno/v2/health/ready" > /dev/null 2>&1 &&
        curl -sf --data-binary "@$photo" "http://127.0.0.1:$port/infer" > "$work/fastapi.json" && break
    sleep 0.2
done
[ -s "$work/fastapi.json" ] || { echo "a server did not start:" >&2; cat "$work"/*.out >&2; exit 1; }
curl -sf --http2-prior-knowledge -H 'content-type: image/jpeg' --data-binary "@$photo" \
    "http://$dyno/v1/models/model/infer" > "$work/dyno.json"
echo "best label: dyno-server $(grep -o '"index":[0-9]*' "$work/dyno.json" | head -1), \
FastAPI $(grep -o '"index":[0-9]*' "$work/fastapi.json" | head -1)"

# measure NAME CONNECTIONS URL FLAGS...: requests a second, median and 99th percentile in milliseconds.
measure() {
    connections=$2; url=$3; shift 3
    rm -f "$work/log"
    taskset -c "$load_cores" h2load -c "$connections" -m 1 -t 1 -D "$seconds" --warm-up-time 1 -d "$photo" \
        --log-file "$work/log" "$@" "$url" > "$work/h2load"
    rate=$(awk '/^status codes:/ { ok = $3; other = $5 + $7 + $9 } /^finished in/ { rate = $4 }
        END { if (ok == 0 || other > 0) exit 1; print rate }' "$work/h2load") ||
        { echo "$url answered otherwise than 200:" >&2; cat "$work/h2load" >&2; exit 1; }
    # Start, status and microseconds of every request.
    cut -f 3 "$work/log" | sort -n | awk -v rate="$rate" '{ t[NR] = $1 / 1000 }
        END { print rate, t[int((NR - 1) * 0.5) + 1], t[int((NR - 1) * 0.99) + 1] }'
}
measure_dyno() { measure dyno "$1" "http://$dyno/v1/models/model/infer" -H 'content-type: image/jpeg'; }
measure_fastapi() { measure fastapi "$1" "http://127.0.0.1:$port/infer" --h1 -H 'content-type: image/jpeg'; }
# median FILE COLUMN
median() { cut -d ' ' -f "$2" "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "$MODEL, $photo, server on core(s) $server_cores, h2load on $load_cores; medians of $rounds rounds by turns"
echo "connections | dyno-server: requests/s, p50 ms, p99 ms | FastAPI: requests/s, p50 ms, p99 ms | ratio of requests/s"
for connections in $concurrencies; do
    rm -f "$work/dyno.rounds" "$work/fastapi.rounds" "$work/ratios"
    for _ in $(seq "$rounds"); do
        ours=$(measure_dyno "$connections"); theirs=$(measure_fastapi "$connections")
        echo "$ours" >> "$work/dyno.rounds"
        echo "$theirs" >> "$work/fastapi.rounds"
        echo "$ours $theirs" | awk '{ printf "%.3f\n", $1 / $4 }' >> "$work/ratios"
    done
    echo "$connections | $(median "$work/dyno.rounds" 1), $(median "$work/dyno.rounds" 2), $(median "$work/dyno.rounds" 3)" \
        "| $(median "$work/fastapi.rounds" 1), $(median "$work/fastapi.rounds" 2), $(median "$work/fastapi.rounds" 3)" \
        "| $(median "$work/ratios" 1)"
done
