#!/usr/bin/env bash
# Runs every fuzz target for SECONDS_EACH seconds (60 unless set).
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "skipped: fuzzing needs a nightly toolchain and cargo-fuzz" \
    "(rustup toolchain install nightly; cargo install cargo-fuzz)" >&2
  exit 0
fi
for target in $(cargo +nightly fuzz list); do
  echo "fuzzing $target"
  cargo +nightly fuzz run "$target" -- -max_total_time="${SECONDS_EACH:-60}"
done
