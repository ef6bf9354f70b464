#!/usr/bin/env bash
# Tries the Open Inference Protocol with programs that nobody here wrote: NVIDIA's tritonclient asks the
# server over HTTP/1.1, and Seldon's MLServer runs tails for it over gRPC. Both come from PyPI, pinned in
# scripts/oip/requirements.txt, into .dyno/oip.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
venv=$PWD/.dyno/oip
requirements=scripts/oip/requirements.txt

skip() {
  echo "skipped: the Open Inference Protocol with tritonclient and MLServer ($1)"
  exit 0
}
fail() {
  echo "$1" >&2
  exit 1
}

if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  rm -rf "$venv"
  mkdir -p .dyno
  python3 -m venv "$venv" >/dev/null 2>&1 || skip "python3 has no venv here"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
    --requirement "$requirements" || skip "PyPI's packages could not be installed: see above"
  cp "$requirements" "$venv/requirements.txt"
fi

scripts/setup.sh
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}
scratch=$(mktemp -d)
stop() {
  # shellcheck disable=SC2046 # several processes
  kill $(jobs -p) 2>/dev/null || true
  wait
  rm -rf "$scratch"
}
trap stop EXIT

# The whole workspace, as the tests are built: with fewer packages cargo would build dependencies anew.
$CARGO build -q --workspace --bins
bin=${CARGO_TARGET_DIR:-target}/debug
"$bin/dyno" prepare models/shapes12.onnx --out "$scratch/bundles/shapes12" \
  --preprocess models/shapes12.toml >/dev/null

# Starts a server; its addresses go into `phones` and `oip`.
serve() { # NAME FLAGS...
  local name=$1
  shift
  "$bin/dyno-server" --bundles "$scratch/bundles" --listen 127.0.0.1:0 --oip-listen 127.0.0.1:0 "$@" \
    >"$scratch/$name.out" 2>"$scratch/$name.log" &
  for _ in $(seq 600); do
    [ "$(wc -l <"$scratch/$name.out")" -lt 2 ] || break
    sleep 0.1
  done
  read -r phones oip < <(sed -n 's/^listening on \([^ ]*\).*/\1/p' "$scratch/$name.out" | xargs)
  ready "$oip" || fail "the server does not get ready: $(cat "$scratch/$name.log")"
}
ready() { # ADDRESS
  "$venv/bin/python" - "$1" <<'PY'
"""Waits until a server is ready."""
import sys, time, urllib.error, urllib.request
for _ in range(600):
    try:
        urllib.request.urlopen(f"http://{sys.argv[1]}/v2/health/ready", timeout=5)
        sys.exit(0)
    except (OSError, urllib.error.HTTPError):
        time.sleep(0.1)
sys.exit(1)
PY
}

serve here
"$venv/bin/python" server/tests/oip_tritonclient.py "$oip" "$phones"

# The same again, with the tails run by MLServer.
repository=$scratch/tails
"$bin/dyno" export-tails --bundle "$scratch/bundles/shapes12" --cuts 0 --out "$repository" >/dev/null
for model in "$repository"/*/; do
  cat >"$model/model-settings.json" <<JSON
{"name": "$(basename "$model")", "implementation": "onnx_tail.OnnxTail",
 "parameters": {"uri": "$model/1/model.onnx"}}
JSON
done
read -r http grpc metrics < <(python3 - <<'PY'
"""Ports that nobody has."""
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in held))
PY
)
cat >"$repository/settings.json" <<JSON
{"host": "127.0.0.1", "http_port": $http, "grpc_port": $grpc, "metrics_port": $metrics,
 "parallel_workers": 0, "debug": false}
JSON
PYTHONPATH=$PWD/scripts/oip "$venv/bin/mlserver" start "$repository" >"$scratch/mlserver.log" 2>&1 &
ready "127.0.0.1:$http" || fail "MLServer does not start: $(tail -n 30 "$scratch/mlserver.log")"
serve there --tail-engine "grpc://127.0.0.1:$grpc"
"$venv/bin/python" server/tests/oip_tritonclient.py "$oip" "$phones"
echo "MLServer ran the tails"
