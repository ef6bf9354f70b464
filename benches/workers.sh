#!/bin/sh
# How the wait for a worker falls with their number: dyno-server with 1, 2, 4 and 8 workers whose tails sleep for as long as
# the bundle's profile says (`server/examples/waiting.rs`), so that a machine of two cores will do. Real bodies over real
# connections; arrivals are those of many phones (Poisson), at 70 % of the capacity measured in the same run.
#
#   benches/workers.sh BUNDLE PHOTOS       # a prepared bundle, a folder of photos
#   WORKERS="1 4" CUTS=2,6,9 SECONDS_EACH=30 PERCENT=50,70 benches/workers.sh BUNDLE PHOTOS
set -eu
bundle=$(realpath "${1:?a bundle\'s folder}")
photos=$(realpath "${2:?a folder of photos}")
cd "$(dirname "$0")/.."

cargo build --release -p dyno-cli
cargo build --release -p dyno-server --example waiting
target=${CARGO_TARGET_DIR:-target}/release
for workers in ${WORKERS:-1 2 4 8}; do
    echo "$workers workers"
    "$target/dyno" bench server --bundle "$bundle" --images "$photos" ${CUTS:+--cuts "$CUTS"} \
        --server-program "$target/examples/waiting" --server-flag=--workers="$workers" \
        --server-flag=--max-queue-wait="${MAX_QUEUE_WAIT:-1s}" --in-flight $((2 * workers)) \
        --percent-of-capacity "${PERCENT:-70}" --seconds "${SECONDS_EACH:-30}"
done
