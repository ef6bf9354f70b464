#!/usr/bin/env bash
# Tries the Open Inference Protocol with programs that nobody here wrote: NVIDIA's tritonclient asks the
# server over HTTP/1.1, and Seldon's MLServer runs tails for it over gRPC. Both come from PyPI, pinned in
# scripts/oip, into .dyno/oip, where they stay.
set -euo pipefail
cd "$(dirname "$0")/.."

# A cut in the middle of the shipped model, beside cut 0, for photos.
CUT=24
pins=(scripts/oip/requirements.txt scripts/oip/constraints.txt)
venv=$PWD/.dyno/oip
python=$venv/bin/python
scratch=$(mktemp -d)

stop() {
  # shellcheck disable=SC2046 # several processes
  kill $(jobs -p) 2>/dev/null || true
  wait
  rm -rf "$scratch"
}
trap stop EXIT
skip() {
  echo "skipped: the Open Inference Protocol with $1 ($2)"
}
fail() {
  echo "$1" >&2
  exit 1
}
pip() {
  "$python" -m pip --quiet --disable-pip-version-check --retries 2 --timeout 15 "$@"
}

# Installs what is pinned, unless it was.
install() {
  ! cat "${pins[@]}" | cmp -s - "$venv/pins" || return 0
  if ! python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    skip "tritonclient and MLServer" "they need Python 3.11 or newer, with venv"
    exit 0
  fi
  "$python" -c '' 2>/dev/null || python3 -m venv --clear "$venv"
  if ! pip install --only-binary=:all: --requirement "${pins[0]}" --constraint "${pins[1]}" 2>"$scratch/pip"; then
    if pip download --no-deps --dest "$scratch" tritonclient >/dev/null 2>&1; then
      fail "$(cat "$scratch/pip")"
    fi
    skip "tritonclient and MLServer" "PyPI cannot be reached"
    exit 0
  fi
  cat "${pins[@]}" >"$venv/pins"
}

# Starts a server; its addresses go into `phones` and `oip`.
serve() { # NAME FLAGS...
  local name=$1
  shift
  : >"$scratch/$name.out"
  "$BUILT/dyno-server" --bundles "$scratch/bundles" --listen 127.0.0.1:0 --oip-listen 127.0.0.1:0 \
    --metrics-listen off "$@" >"$scratch/$name.out" 2>"$scratch/$name.log" &
  for _ in $(seq 600); do
    [ "$(wc -l <"$scratch/$name.out")" -lt 2 ] || break
    sleep 0.1
  done
  read -r phones oip < <(sed -n 's/^listening on \([^ ]*\).*/\1/p' "$scratch/$name.out" | xargs)
  ready "$oip" || fail "the server does not get ready: $(cat "$scratch/$name.log")"
}

ready() { # ADDRESS
  "$python" - "$1" <<'PY'
"""Waits until a server is ready."""
import sys, time, urllib.request
for _ in range(600):
    try:
        urllib.request.urlopen(f"http://{sys.argv[1]}/v2/health/ready", timeout=5)
        sys.exit(0)
    except OSError:
        time.sleep(0.1)
sys.exit(1)
PY
}

# Has tritonclient ask the server that was started, and says what the server logged where that fails.
ask() { # NAME
  "$python" server/tests/oip_tritonclient.py "$oip" "$phones" || fail "$(tail -n 30 "$scratch/$1.log")"
}

# Runs a photo's head here and its tail behind the server, and compares with the whole run here.
split() { # NAME
  local photo=models/samples/02_heart.jpg run=("$BUILT/dyno" infer --bundle "$scratch/bundles/shapes12" --json)
  "${run[@]}" --mode ONLY_ON_DEVICE --output "$scratch/whole.npy" "$photo" >/dev/null
  "${run[@]}" --mode ONLY_CLOUD --cut "$CUT" --levels raw --codec raw --server "http://$phones" \
    --output "$scratch/split.npy" "$photo" >/dev/null || fail "$(tail -n 30 "$scratch/$1.log")"
  "$python" - "$scratch/whole.npy" "$scratch/split.npy" <<'PY'
"""Compares two outputs."""
import sys, numpy
numpy.testing.assert_allclose(*map(numpy.load, sys.argv[1:]), atol=1e-4, rtol=1e-4)
PY
}

# Has MLServer run the tails behind cut 0 and $CUT; where it listens goes into `http` and `grpc`.
start_mlserver() {
  local repository=$scratch/tails model metrics
  "$BUILT/dyno" export-tails --bundle "$scratch/bundles/shapes12" --cuts "0,$CUT" --out "$repository" >/dev/null
  for model in "$repository"/*; do
    cat >"$model/model-settings.json" <<JSON
{"name": "$(basename "$model")", "implementation": "onnx_tail.OnnxTail",
 "parameters": {"uri": "$model/1/model.onnx"}}
JSON
  done
  read -r http grpc metrics < <("$python" - <<'PY'
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
}

install
scripts/setup.sh
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}
. scripts/built.sh
"$BUILT/dyno" prepare models/shapes12.onnx --out "$scratch/bundles/shapes12" \
  --preprocess models/shapes12.toml --quiet >/dev/null

serve here
ask here
if [ ! -x "$venv/bin/mlserver" ]; then
  echo "the Open Inference Protocol: tritonclient was answered"
  skip "MLServer" "it needs Python 3.11 or 3.12"
  exit 0
fi
start_mlserver
serve there --tail-engine "grpc://127.0.0.1:$grpc"
ask there
split there
echo "the Open Inference Protocol: tritonclient was answered, and MLServer ran the tails"
