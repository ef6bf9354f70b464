# Sourced by the scripts that run what this workspace builds: makes the programs and the bindings' library exactly as
# `cargo test` does, so that behind the tests nothing is left to build. Cargo chooses features by what it is asked for:
# with fewer packages, or without a target that has the tests' dependencies (the example), it would build tokio and all
# that stands on it once more.
#
# DYNO_PROFILE is cargo's profile, dev unless set; BUILT becomes the folder they are in. For scripts that are in the
# repository's root.
# shellcheck shell=bash disable=SC2034 # for whoever sources this

${CARGO:-cargo} build -q --profile "${DYNO_PROFILE:-dev}" --workspace --lib --bins --example sdk_world --features dyno-server/otlp
BUILT=${CARGO_TARGET_DIR:-target}/${DYNO_PROFILE:-debug}
[ "${DYNO_PROFILE:-}" != dev ] || BUILT=${CARGO_TARGET_DIR:-target}/debug
