#!/usr/bin/env bash
# Builds libdyno_sdk.so for Android with Android's NDK, the way it ships, into android/sdk/src/main/jniLibs, and
# checks what came out. ONNX Runtime is not in it: the app takes its library from the onnxruntime-android package.
#
#   android-libs.sh [ABI...]    arm64-v8a and x86_64 (the emulator's) unless named
set -euo pipefail
cd "$(dirname "$0")/.."
CHECK="make android-libs"
. scripts/phone/android.sh

CARGO=${CARGO:-cargo}
OUT=${DYNO_ANDROID_OUT:-android/sdk/src/main/jniLibs}
CARGO_NDK=4.1.2

fail() {
  echo "$CHECK: $*" >&2
  exit 1
}

[ $# -gt 0 ] || set -- arm64-v8a x86_64
ndk=${ANDROID_NDK_HOME:-${ANDROID_NDK_ROOT:-}}
[ -n "$ndk" ] || fail "ANDROID_NDK_HOME is not set. Install the NDK (sdkmanager 'ndk;28.2.13676358', or Android Studio's" \
  "SDK manager) and set ANDROID_NDK_HOME to its folder"
[ -f "$ndk/source.properties" ] || fail "$ndk (ANDROID_NDK_HOME) is no NDK: it has no source.properties"
"$CARGO" ndk --version >/dev/null 2>&1 ||
  fail "cargo-ndk is missing: cargo install cargo-ndk --version $CARGO_NDK --locked"
bin=$(echo "$ndk"/toolchains/llvm/prebuilt/*/bin)
READELF=$bin/llvm-readelf NM=$bin/llvm-nm
[ -x "$READELF" ] && [ -x "$NM" ] || fail "$ndk has no llvm-readelf and llvm-nm for this machine"

triple() { # ABI
  case "$1" in
    arm64-v8a) echo aarch64-linux-android ;;
    x86_64) echo x86_64-linux-android ;;
    *) fail "no such ABI: $1 (there are arm64-v8a and x86_64)" ;;
  esac
}

# Only where rustup's Rust is used: another one brings its libraries its own way.
installed=
[ -n "${RUSTC:-}" ] || installed=$(rustup target list --installed 2>/dev/null || true)
targets=()
for abi in "$@"; do
  target=$(triple "$abi")
  [ -z "$installed" ] || grep -qx "$target" <<<"$installed" ||
    fail "Rust's library for $target is missing: rustup target add $target"
  targets+=(-t "$abi")
done

# As a cdylib alone: cargo optimises the whole of a library together only where nothing else is made of it.
# shellcheck disable=SC2086 # the variable holds words: options for cargo of a machine without rustup's libraries
ANDROID_NDK_HOME=$ndk "$CARGO" ndk "${targets[@]}" -P "$ANDROID_API" -o "$OUT" \
  rustc --locked -p dyno-bindings --lib --crate-type cdylib --profile phone ${DYNO_CARGO_OPTIONS:-}

for abi in "$@"; do
  library=$OUT/$abi/libdyno_sdk.so
  case "$abi" in
    arm64-v8a) check_android_library "$library" AArch64 ;;
    x86_64) check_android_library "$library" X86-64 ;;
  esac
  check_android_size "$library" "$abi"
done
