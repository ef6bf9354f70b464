#!/usr/bin/env bash
# Runs the fuzz targets, or those named, for SECONDS_EACH seconds each (60 unless set), from fuzz/seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "skipped: fuzzing needs a nightly toolchain and cargo-fuzz" \
    "(rustup toolchain install nightly; cargo install cargo-fuzz)" >&2
  exit 0
fi
[ $# -gt 0 ] || mapfile -t all < <(cargo +nightly fuzz list)
for target in "${@:-${all[@]}}"; do
  echo "fuzzing $target"
  mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
  # The first folder takes what is found; seeds are only read.
  cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="${SECONDS_EACH:-60}"
done
