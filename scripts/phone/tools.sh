# Sourced by the scripts that build for other machines than this one: what they need is installed from
# Debian and PyPI, once, into TOOLS outside of the checkout.
# shellcheck shell=bash disable=SC2034 # some names are for whoever sources this

TOOLS=${DYNO_PHONE_TOOLS:-/opt/dyno-phone}
SOURCES=/etc/apt/sources.list.d/debian.sources
KEYRING='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg'
LLVM=19

skip() { # WHAT-IT-NEEDS
  echo "skipped: ${CHECK:-this} needs $1"
  exit 0
}

fail() {
  echo "${CHECK:-error}: $*" >&2
  exit 1
}

# Skips on other machines. Until done_installing one check at a time puts things into TOOLS.
need_debian() { # WHAT-ELSE-WOULD-DO
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "Linux on x86-64${1:+ ($1)}"
  # rustc-web, a Rust as new as the workspace needs, is in this release's security updates.
  (. /etc/os-release && [ "$ID-${VERSION_CODENAME:-}" = debian-bookworm ]) 2>/dev/null || skip "Debian 12${1:+ ($1)}"
  [ "$(id -u)" = 0 ] || skip "root, to install packages"
  [ -f "$SOURCES" ] || skip "$SOURCES, which names the mirrors to take packages from"
  mkdir -p "$TOOLS"
  exec 9>"$TOOLS/lock"
  flock 9
}

done_installing() {
  exec 9>&-
}

install_packages() {
  # `dpkg-query -W` also names packages that were removed again.
  local states
  states=$(dpkg-query -W -f '${db:Status-Status}\n' "$@" 2>/dev/null) || states=missing
  [ "$(sort -u <<<"$states")" != installed ] || return 0
  apt-get -q -o DPkg::Lock::Timeout=600 update
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
    install --no-install-recommends "$@"
}

# The options of an apt with a configuration of its own, so that a foreign architecture or another
# suite never becomes a source of the machine. Sources come from stdin.
side_apt() { # NAME ARCHITECTURE
  local folder=$TOOLS/apt/$1
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  cat >"$folder/sources.list"
  echo "-o APT::Architecture=$2 -o APT::Architectures=$2 -o Dir::State::lists=$folder/lists" \
    "-o Dir::Cache=$folder/cache -o Dir::Etc::sourcelist=$folder/sources.list" \
    "-o Dir::Etc::sourceparts=- -o Dir::State::status=/dev/null -o APT::Sandbox::User=root"
}

mirror() { # NUMBER: 1 the release's, 2 its security updates'
  local found
  found=$(sed -n 's/^URIs: //p' "$SOURCES" | sed -n "$1p")
  [ -n "$found" ] || found=$(sed -n 's/^URIs: //p' "$SOURCES" | sed -n 1p)
  echo "$found"
}

arm64_apt() {
  side_apt arm64 arm64 <<<"deb [arch=arm64 $KEYRING] $(mirror 1) bookworm main
deb [arch=arm64 $KEYRING] $(mirror 2) bookworm-security main"
}

backports_apt() {
  side_apt backports amd64 <<<"deb [$KEYRING] $(mirror 1) bookworm-backports main"
}

# Unpacks a package into a folder of TOOLS, unless it is there in this version.
unpack_package() { # FOLDER PACKAGE VERSION-OR-EMPTY APT-OPTIONS...
  local folder=$1 package=$2${3:+=$3} scratch
  shift 3
  [ "$(cat "$TOOLS/$folder.package" 2>/dev/null)" != "$package" ] || return 0
  scratch=$(mktemp -d)
  apt-get -q "$@" update
  (cd "$scratch" && apt-get -q "$@" download "$package")
  rm -rf "${TOOLS:?}/$folder"
  dpkg -x "$scratch"/*.deb "$TOOLS/$folder"
  rm -r "$scratch"
  echo "$package" >"$TOOLS/$folder.package"
}

# Debian's Rust, for targets whose standard library is built with everything else or comes as a package.
install_rust() {
  install_packages rustc-web cargo-web libstd-rust-web-dev rust-web-src "$@"
  export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
  # rustup's cargo, which is first in PATH, would look for its own standard libraries.
  unset RUSTUP_TOOLCHAIN
}

rust_version() {
  dpkg-query -W -f '${Version}' libstd-rust-web-dev
}

# Building the standard library is an unstable option, which this lets a released compiler take.
BUILD_STD=("-Zbuild-std=std,panic_unwind")
install_rust_from_source() {
  install_rust "clang-$LLVM" "lld-$LLVM" "llvm-$LLVM"
  export RUSTC_BOOTSTRAP=1
  # rustc strips by this name; Debian does not ship it.
  mkdir -p "$TOOLS/bin"
  ln -sfn "/usr/bin/llvm-objcopy-$LLVM" "$TOOLS/bin/rust-objcopy"
  export PATH="$TOOLS/bin:$PATH"
}

# What a check builds is thrown away: no debug information, nothing optimised. A profile of its own, for the
# development build optimises some packages by name. What it makes is in the folder `quick`.
QUICK=(
  --profile quick
  --config 'profile.quick.inherits="release"'
  --config 'profile.quick.opt-level=0'
  --config 'profile.quick.lto="off"'
  --config 'profile.quick.codegen-units=16'
)

target_folder() { # NAME
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/$1
}
