#!/usr/bin/env bash
# Runs h2spec, the conformance tests of HTTP/2, against the server with the shipped model. Fails where anything but
# what is known to fail, and why (docs/hostile-input.md), does.
#
# h2spec sends what is wrong behind a request that is sound so far. A server may answer from a request's headers; it is then done
# with the stream before it sees the rest, and h2spec counts that as a failure. So each test may pass on one of two
# paths, one with a long answer and one that reads the body, in one of a few rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=v2.2.1+incompatible
ROUNDS=5
PATHS=(/v1/models/shapes12/bundle /v1/probe)
KNOWN=(
  # Answered in words that HTTP/1 clients understand, then closed: h2spec sees only that they are no frame.
  "2: Sends invalid connection preface"
)
skip() {
  echo "skipped: h2spec ($1)"
  exit 0
}
h2spec=.dyno/h2spec
if [ ! -x "$h2spec" ]; then
  command -v go >/dev/null || skip "it is built with Go: https://go.dev/dl"
  said=$(GOBIN="$PWD/.dyno" go install "github.com/summerwind/h2spec/cmd/h2spec@$VERSION" 2>&1) ||
    skip "it cannot be built: ${said##*$'\n'}"
fi
scripts/setup.sh
export ORT_DYLIB_PATH="${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}"
. scripts/built.sh
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
"$BUILT/dyno" prepare models/shapes12.onnx --out "$folder/bundles/shapes12" --preprocess models/shapes12.toml \
  --quiet >/dev/null
: >"$folder/out"
"$BUILT/dyno-server" --bundles "$folder/bundles" --listen 127.0.0.1:0 --metrics-listen off \
  --max-connections-per-address 1024 >"$folder/out" 2>"$folder/log" &
server=$!
for _ in $(seq 100); do
  port=$(sed -n 's/^listening on .*://p' "$folder/out")
  [ -z "$port" ] || break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
[ -n "$port" ] || { cat "$folder/log" >&2; exit 1; }

# What has failed every time, sorted.
run() { # PATH
  "$h2spec" -h 127.0.0.1 -p "$port" -P "$1" -o 2 >"$folder/report" || true
  grep -q ' tests, ' "$folder/report" || { cat "$folder/report" >&2; exit 1; }
  sed -n '/^Failures:/,$p' "$folder/report" | sed -n 's/^ *× *//p' | sort -u >"$folder/failed"
  if [ -e "$folder/always" ]; then
    comm -12 "$folder/always" "$folder/failed" >"$folder/both"
    mv "$folder/both" "$folder/always"
  else
    mv "$folder/failed" "$folder/always"
  fi
}
printf '%s\n' "${KNOWN[@]}" | sort >"$folder/known"
for _ in $(seq "$ROUNDS"); do
  for path in "${PATHS[@]}"; do run "$path"; done
  ! cmp -s "$folder/known" "$folder/always" || break
done
kill -0 "$server" 2>/dev/null || { echo "the server has gone" >&2; cat "$folder/log" >&2; exit 1; }
comm -13 "$folder/known" "$folder/always" | sed 's/^/failed: /' >&2
comm -23 "$folder/known" "$folder/always" | sed 's/^/no longer fails, and can leave the known: /' >&2
cmp -s "$folder/known" "$folder/always" || exit 1
tests=$(sed -n 's/^\([0-9]*\) tests, .*/\1/p' "$folder/report")
echo "h2spec: $((tests - ${#KNOWN[@]})) of $tests tests pass, and what fails is known"
