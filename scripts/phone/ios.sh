# Sourced by what makes the libraries for iPhones.
# shellcheck shell=bash

# The oldest that is supported.
export IPHONEOS_DEPLOYMENT_TARGET=15.0

# NM is the tool, in words; `fail` is the caller's.
check_ios_exports() { # LIBRARY
  local symbols pattern
  # Members without symbols are grumbled about.
  symbols=$($NM -g "$1" 2>/dev/null | awk '$2 == "T" { print $3 }') || fail "$NM cannot read $1"
  for pattern in '^_uniffi_dyno_' '^_ffi_dyno_'; do
    grep -q "$pattern" <<<"$symbols" || fail "$1 exports nothing that matches $pattern"
  done
  echo "$1: $(grep -cE '^_(uniffi|ffi)_dyno_' <<<"$symbols") exports"
}
