#!/usr/bin/env bash
# Builds the Swift package and runs its tests against the library and servers of this machine.
#
# On Linux the compiler is Debian 13's (Swift 6.0), in a folder of its own that is made at the first
# run (with mmdebstrap, which is installed if missing). On macOS it is the installed one. The world of the tests
# (a bundle, photos, servers) comes from scripts/sdk-world.sh, which runs this script again with what
# it made in the environment. Arguments go to `swift test`.
#
#   DYNO_SWIFT_CHROOT    where the compiler lives (/opt/dyno-swift)
set -euo pipefail
cd "$(dirname "$0")/.."

ROOT=$PWD
CHROOT=${DYNO_SWIFT_CHROOT:-/opt/dyno-swift}
SOURCES=/etc/apt/sources.list.d/debian.sources
SYSTEM=$(uname -s)

skip() {
  echo "skipped: the Swift tests need $1"
  exit 0
}
case "$SYSTEM" in
  Darwin) command -v swift >/dev/null || skip "Xcode or its command line tools" ;;
  Linux)
    [ "$(uname -m)" = x86_64 ] || skip "x86-64 on Linux"
    [ "$(. /etc/os-release && echo "${ID:-}")" = debian ] || skip "Debian, for its Swift"
    [ "$(id -u)" = 0 ] || skip "root, to set up a folder with Debian 13"
    [ -e "$CHROOT" ] || [ -f "$SOURCES" ] || skip "$SOURCES, which names a mirror"
    unshare -m true 2>/dev/null || skip "mount namespaces"
    ;;
  *) skip "Linux or macOS" ;;
esac

[ -n "${DYNO_SDK_SCENARIOS:-}" ] || exec scripts/sdk-world.sh scripts/test-swift.sh "$@"

# The only folder that is written.
SCRATCH=${CARGO_TARGET_DIR:-$ROOT/target}/swift
mkdir -p "$SCRATCH/home"
SCRATCH=$(cd "$SCRATCH" && pwd)
LOG=$SCRATCH/test.log

# All tests are XCTest's; Swift's own framework would report that it found none.
swift_test() {
  local command=(swift test --package-path "$ROOT" --scratch-path "$SCRATCH/build" --disable-sandbox
    --disable-swift-testing -Xlinker "-L$DYNO_SDK_LIB" -Xlinker -rpath -Xlinker "$DYNO_SDK_LIB" "$@")
  if [ "$SYSTEM" = Darwin ]; then
    "${command[@]}"
  else
    in_chroot "${command[@]}"
  fi
}

install_swift() {
  [ -e "$CHROOT" ] && return
  # Checkouts share it: one makes it, the others wait.
  mkdir -p "$(dirname "$CHROOT")"
  exec 9>"$CHROOT.lock"
  flock 9
  [ -e "$CHROOT" ] || make_swift
  exec 9>&-
}

make_swift() {
  if ! command -v mmdebstrap >/dev/null; then
    apt-get -q -o DPkg::Lock::Timeout=600 update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
      install --no-install-recommends mmdebstrap
  fi
  local mirror
  mirror=$(sed -n 's/^URIs: //p' "$SOURCES" | sed -n 1p)
  rm -rf "$CHROOT.partial"
  mmdebstrap --quiet --variant=apt --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --include=swiftlang,libc6-dev,libstdc++-14-dev \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    trixie "$CHROOT.partial" "$mirror"
  mv "$CHROOT.partial" "$CHROOT"
}

# Runs a command beside Debian 13's Swift. It sees the checkout, which it cannot write, and what the
# environment names, at the paths they have here; the network is the machine's own, and with it the
# servers. All mounts end with the command.
in_chroot() {
  local shown=("$DYNO_SDK_LIB" "$DYNO_SDK_BUNDLES" "$DYNO_SDK_INPUTS" "$DYNO_SDK_BUNDLE"
    "$(dirname "$DYNO_SDK_SCENARIOS")" "$(dirname "$DYNO_SERVER_BIN")" "$(dirname "$ORT_DYLIB_PATH")")
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare -m bash -euc '
    chroot=$1 root=$2 scratch=$3 shown=$4
    shift 4
    show() { # FOLDER OPTIONS
      mkdir -p "$chroot$1"
      mount --bind "$1" "$chroot$1"
      mount -o "remount,bind,$2" "$chroot$1"
    }
    mount --bind /proc "$chroot/proc"
    mount --bind /dev "$chroot/dev"
    mount -t tmpfs tmpfs "$chroot/tmp"
    show "$root" ro
    for ((i = 0; i < shown; i++)); do
      case "$1" in "$root"/*) ;; *) show "$1" ro ;; esac
      shift
    done
    show "$scratch" rw
    exec chroot "$chroot" env HOME="$scratch/home" PATH=/usr/bin:/bin "$@"
  ' in_chroot "$CHROOT" "$ROOT" "$SCRATCH" "${#shown[@]}" "${shown[@]}" "$@"
}

[ "$SYSTEM" = Darwin ] || install_swift
status=0
swift_test "$@" 2>&1 | tee "$LOG" || status=$?

count() {
  grep -cE "^Test Case '.*' $1 \(" "$LOG" || true
}
skipped=$(count skipped)
[ "$skipped" = 0 ] || echo "skipped: $skipped of them"
failed=$(count failed)
# A run that ended early has failed too.
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
# So has one that ran nothing.
[ "$(count passed)" != 0 ] || status=1
echo "$(count passed) passed, $failed failed"
exit "$status"
