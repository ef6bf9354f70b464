#!/usr/bin/env bash
# Builds the core and the bindings for 64-bit Arm Linux and runs tests under qemu: packing with its NEON kernels,
# photos with libwebp's, spans in a real ONNX Runtime, and the bindings' own. Other arguments than the default go to
# `cargo test`. What it needs it installs: Debian's own cross compiler and Rust; Rust's aarch64 library, a recent qemu
# and ONNX Runtime for Arm unpacked into a folder of tools.
set -euo pipefail
cd "$(dirname "$0")/.."
CHECK="the arm64 check"
. scripts/phone/tools.sh

TARGET=aarch64-unknown-linux-gnu
RUSTLIB=/usr/lib/rustlib/$TARGET

install_tools() {
  install_rust gcc-aarch64-linux-gnu libc6-dev-arm64-cross libstdc++6-arm64-cross
  # shellcheck disable=SC2046 # the options are words
  {
    # The library must be of the compiler's exact version, and moves with security updates.
    unpack_package libstd-arm64 libstd-rust-web-dev "$(rust_version)" $(arm64_apt)
    # qemu 7.2, the release's own, crashes in ONNX Runtime.
    unpack_package qemu qemu-user '' $(backports_apt)
  }
  if [ -L "$RUSTLIB" ] || [ ! -e "$RUSTLIB" ]; then
    ln -sfn "$TOOLS/libstd-arm64$RUSTLIB" "$RUSTLIB"
  fi
  scripts/setup.sh manylinux_2_28_aarch64 "$TOOLS/onnxruntime-arm64"
}

need_debian "on an Arm machine, cargo test is this"
install_tools
done_installing

target_folder arm64
export ORT_DYLIB_PATH=$TOOLS/onnxruntime-arm64/libonnxruntime.so
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$TOOLS/qemu/usr/bin/qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
# Under qemu what the tests run counts, so it is optimised as usual. Left out is what is plain Rust and takes long.
# In one call, so that the dependencies are built once.
[ $# -gt 0 ] || set -- -p dyno-core -p dyno-bindings --lib --test sdk -- \
  --skip bundle:: --skip calibrate:: --skip client:: --skip graph:: --skip schedule:: --skip life::
/usr/bin/cargo test --locked --target "$TARGET" --config 'profile.dev.debug=false' "$@"
