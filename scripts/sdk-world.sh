#!/usr/bin/env bash
# Builds the bindings' library, the programs and the world of the SDK's tests (bindings/examples/sdk_world.rs),
# and runs a command in it. DYNO_PROFILE=release measures; tests take the development build.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}
. scripts/built.sh
exec "$BUILT/examples/sdk_world" "$@"
