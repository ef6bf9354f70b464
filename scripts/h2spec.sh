#!/usr/bin/env bash
# Runs h2spec, the conformance tests of HTTP/2, against the server with the shipped model. Fails on any failure but
# those that are known and harmless (docs/hostile-input.md says why).
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=v2.2.1+incompatible
known=(
  # Answered in words that HTTP/1 clients understand, then closed: h2spec sees only that they are no frame.
  "Sends invalid connection preface"
  # These three want to hear of an error behind a request that was answered, from its headers, before the error came.
  "closed: Sends a DATA frame after sending RST_STREAM frame"
  "closed: Sends a HEADERS frame after sending RST_STREAM frame"
  "Sends a HEADERS frame that contains a pseudo-header field as trailers"
)
skip() {
  echo "skipped: h2spec needs $1" >&2
  exit 0
}
h2spec=.dyno/h2spec
if [ ! -x "$h2spec" ]; then
  command -v go >/dev/null || skip "Go, to build it (https://go.dev/dl)"
  GOBIN="$PWD/.dyno" go install "github.com/summerwind/h2spec/cmd/h2spec@$VERSION" || skip "the Go module proxy"
fi
cargo build -q -p dyno-cli -p dyno-server --bins
cargo run -q -p dyno-cli -- prepare models/shapes12.onnx --out .dyno/bundles/shapes12 \
  --preprocess models/shapes12.toml --force --quiet >/dev/null
folder=$(mktemp -d)
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}"
target/debug/dyno-server --bundles .dyno/bundles --listen 127.0.0.1:0 --max-connections-per-address 1024 \
  >"$folder/out" 2>"$folder/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
  port=$(sed -n 's/^listening on .*://p' "$folder/out")
  [ -n "$port" ] && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
[ -n "$port" ] || { cat "$folder/log" >&2; exit 1; }
"$h2spec" -h 127.0.0.1 -p "$port" -P /v2/health/live -o 2 >"$folder/report" || true
grep -q ' tests, ' "$folder/report" || { cat "$folder/report" >&2; exit 1; }
tail -n 1 "$folder/report"
unknown=0
while IFS= read -r failure; do
  for name in "${known[@]}"; do
    [[ $failure == *": $name" ]] && continue 2
  done
  echo "failed: $failure" >&2
  unknown=1
done < <(sed -n '/^Failures:/,$p' "$folder/report" | sed -n 's/^ *× *//p')
kill -0 "$server" || { echo "the server has gone" >&2; cat "$folder/log" >&2; exit 1; }
exit "$unknown"
