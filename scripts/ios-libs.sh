#!/usr/bin/env bash
# Builds the static libraries for iPhones and for the simulator, on a Mac with Xcode, the way they ship:
# target/<target>/phone/libdyno_sdk.a. `make xcframework` packs them for Swift.
set -euo pipefail
cd "$(dirname "$0")/.."
CHECK="make ios-libs"
. scripts/phone/ios.sh

fail() {
  echo "$CHECK: $*" >&2
  exit 1
}

[ "$(uname -s)" = Darwin ] || fail "this needs a Mac with Xcode (elsewhere, make check-ios compiles against a stand-in)"
xcrun --sdk iphoneos --show-sdk-path >/dev/null 2>&1 ||
  fail "Xcode's SDK for iPhones is missing: install Xcode, start it once, then xcode-select -s /Applications/Xcode.app"

TARGETS=(aarch64-apple-ios aarch64-apple-ios-sim)
installed=$(rustup target list --installed 2>/dev/null || true)
for target in "${TARGETS[@]}"; do
  [ -z "$installed" ] || grep -qx "$target" <<<"$installed" ||
    fail "Rust's library for $target is missing: rustup target add $target"
done

NM="xcrun nm"
for target in "${TARGETS[@]}"; do
  cargo rustc --locked -p dyno-bindings --lib --crate-type staticlib --target "$target" --profile phone
  library=${CARGO_TARGET_DIR:-target}/$target/phone/libdyno_sdk.a
  check_ios_exports "$library"
  # An app links only what it uses of it: this is not what it adds to one.
  echo "$library: $(stat -f %z "$library") bytes"
done
