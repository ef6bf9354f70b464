#!/usr/bin/env bash
# Runs the fuzz targets, or those named, for SECONDS_EACH seconds each (60 unless set), from fuzz/seeds. For less than
# a minute it makes the development build, which is there sooner.
set -euo pipefail
cd "$(dirname "$0")/.."
skip() {
  echo "skipped: fuzzing needs $1" >&2
  exit 0
}
cargo +nightly --version >/dev/null 2>&1 || skip "a nightly toolchain (rustup toolchain install nightly)"
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  cargo install cargo-fuzz --version 0.13.2 --locked || skip "cargo-fuzz (cargo install cargo-fuzz)"
fi
[ $# -gt 0 ] || mapfile -t all < <(cargo +nightly fuzz list)
build=()
[ "${SECONDS_EACH:-60}" -ge 60 ] || build=(--dev)
for target in "${@:-${all[@]}}"; do
  echo "fuzzing $target"
  mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
  # The first folder takes what is found; seeds are only read.
  features=()
  case $target in router | headers | oip) features=(--features server) ;; esac
  cargo +nightly fuzz run "${build[@]}" "${features[@]}" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="${SECONDS_EACH:-60}"
done
