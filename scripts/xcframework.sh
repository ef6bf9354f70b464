#!/usr/bin/env bash
# Builds the Rust library for iPhones, for their simulator and for Macs (all with Apple's processors)
# and packs the three as target/ios/CDynoFFI.xcframework, where Package.swift finds it, and as a zip
# for a release. The XCFramework holds DynO and none of ONNX Runtime: apps link that themselves
# (docs/ios.md).
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
TARGETS=(aarch64-apple-ios aarch64-apple-ios-sim aarch64-apple-darwin)
OUT=target/ios
NAME=CDynoFFI.xcframework

cannot() {
  echo "cannot build an XCFramework: $1" >&2
  exit 1
}
[ "$(uname -s)" = Darwin ] || cannot "Apple's compilers and xcodebuild run on macOS only"
command -v xcodebuild >/dev/null || cannot "there is no xcodebuild: install Xcode"

# The oldest macOS that Package.swift names; for iPhones scripts/phone/ios.sh says it.
export MACOSX_DEPLOYMENT_TARGET=13.0
# No path of this machine in the library, so that the same sources give the same bytes.
# Encoded: the paths may hold spaces.
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$PWD=."$'\x1f'"--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"

scripts/ios-libs.sh
# The static library alone, as for iPhones.
$CARGO rustc --locked -p dyno-bindings --lib --crate-type staticlib --profile phone \
  --target aarch64-apple-darwin

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# In a folder of the module's name: Xcode puts the headers of all XCFrameworks into one, where two
# files called module.modulemap would be one too many.
mkdir -p "$scratch/headers/CDynoFFI"
cp ios/Sources/CDynoFFI/CDynoFFI.h ios/Sources/CDynoFFI/module.modulemap "$scratch/headers/CDynoFFI/"

libraries=()
for target in "${TARGETS[@]}"; do
  libraries+=(-library "${CARGO_TARGET_DIR:-target}/$target/phone/libdyno_sdk.a" -headers "$scratch/headers")
done

rm -rf "${OUT:?}/$NAME" "$OUT/$NAME.zip"
mkdir -p "$OUT"
xcodebuild -create-xcframework "${libraries[@]}" -output "$OUT/$NAME"
ditto -c -k --sequesterRsrc --keepParent "$OUT/$NAME" "$OUT/$NAME.zip"
echo "made $OUT/$NAME"
echo "for a release: $OUT/$NAME.zip, checksum $(swift package compute-checksum "$OUT/$NAME.zip")"
