#!/usr/bin/env bash
# Builds the bindings' library, the programs and the world of the SDK's tests (bindings/examples/sdk_world.rs),
# and runs a command in it. DYNO_PROFILE=release measures; tests take the development build.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
profile=${DYNO_PROFILE:-dev}
scripts/setup.sh
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.dyno/onnxruntime/libonnxruntime.so}
# The whole workspace, as the tests are built: with fewer packages cargo would choose other features
# and build the dependencies anew.
$CARGO build -q --profile "$profile" --workspace --lib --bins --example sdk_world --features dyno-server/otlp
folder=$profile
[ "$profile" != dev ] || folder=debug
exec "${CARGO_TARGET_DIR:-target}/$folder/examples/sdk_world" "$@"
