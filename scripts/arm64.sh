#!/usr/bin/env bash
# Builds dyno-core for 64-bit Arm Linux and runs its packing tests, NEON kernels among them, under qemu.
# What it needs it installs: Debian's own cross compiler and Rust, and Rust's aarch64 library and a
# recent qemu unpacked into TOOLS. Other arguments than the default go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

TOOLS=${DYNO_ARM64_TOOLS:-/opt/dyno-arm64}
TARGET=aarch64-unknown-linux-gnu
SOURCES=/etc/apt/sources.list.d/debian.sources
RUSTLIB=/usr/lib/rustlib/$TARGET

skip() {
  echo "skipped: the arm64 tests need $1"
  exit 0
}
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "Linux on x86-64 (on an Arm machine, cargo test runs them)"
# rustc-web, a Rust as new as the workspace needs, is in this release's security updates.
(. /etc/os-release && [ "$ID-${VERSION_CODENAME:-}" = debian-bookworm ]) 2>/dev/null || skip "Debian 12"
[ "$(id -u)" = 0 ] || skip "root, to install packages"
[ -f "$SOURCES" ] || skip "$SOURCES, which names the mirrors to take packages from"

# One line for apt: a configuration of its own, so that a foreign architecture or another suite
# never becomes a source of the machine. Sources come from stdin.
side_apt() { # NAME ARCHITECTURE
  local folder=$TOOLS/apt/$1
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  cat >"$folder/sources.list"
  echo "-o APT::Architecture=$2 -o APT::Architectures=$2 -o Dir::State::lists=$folder/lists" \
    "-o Dir::Cache=$folder/cache -o Dir::Etc::sourcelist=$folder/sources.list" \
    "-o Dir::Etc::sourceparts=- -o Dir::State::status=/dev/null -o APT::Sandbox::User=root"
}

fetch() { # FOLDER PACKAGE APT-OPTIONS...: downloads and unpacks
  local folder=$1 package=$2 scratch
  shift 2
  scratch=$(mktemp -d)
  apt-get -q "$@" update
  (cd "$scratch" && apt-get -q "$@" download "$package")
  rm -rf "${TOOLS:?}/$folder"
  dpkg -x "$scratch"/*.deb "$TOOLS/$folder"
  rm -r "$scratch"
}

install_tools() {
  local packages=(rustc-web cargo-web libstd-rust-web-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
  if ! dpkg-query -W "${packages[@]}" >/dev/null 2>&1; then
    apt-get -q -o DPkg::Lock::Timeout=600 update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
      install --no-install-recommends "${packages[@]}"
  fi
  # The library must be of the compiler's exact version, and moves with security updates.
  local version wanted main security signed='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg'
  version=$(dpkg-query -W -f '${Version}' libstd-rust-web-dev)
  wanted="libstd $version, qemu from backports"
  if [ "$(cat "$TOOLS/installed" 2>/dev/null)" != "$wanted" ]; then
    main=$(sed -n 's/^URIs: //p' "$SOURCES" | sed -n 1p)
    security=$(sed -n 's/^URIs: //p' "$SOURCES" | sed -n 2p)
    # shellcheck disable=SC2046 # the options are words
    fetch libstd "libstd-rust-web-dev=$version" $(side_apt arm64 arm64 <<<"deb [arch=arm64 $signed] $main bookworm main
deb [arch=arm64 $signed] ${security:-$main} bookworm-security main")
    # qemu 7.2, the release's own, crashes in ONNX Runtime.
    # shellcheck disable=SC2046
    fetch qemu qemu-user $(side_apt backports amd64 <<<"deb [$signed] $main bookworm-backports main")
    echo "$wanted" >"$TOOLS/installed"
  fi
  if [ -L "$RUSTLIB" ] || [ ! -e "$RUSTLIB" ]; then
    ln -sfn "$TOOLS/libstd$RUSTLIB" "$RUSTLIB"
  fi
}

install_tools
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/arm64
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$TOOLS/qemu/usr/bin/qemu-aarch64 -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
[ $# -gt 0 ] || set -- -p dyno-core --lib pack::
/usr/bin/cargo test --locked --target "$TARGET" "$@"
