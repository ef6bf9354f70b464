#!/usr/bin/env bash
# Writes the generated Kotlin and Swift from the bindings' library as it is built now, over what the
# repository holds. With --check it writes nothing and fails if they differ: the generated code is
# kept in the repository so that apps need no Rust to read or build it.
set -euo pipefail
cd "$(dirname "$0")/.."

KOTLIN=android/lib/src/main/kotlin
SWIFT=ios/Sources
case "${1:-}" in
  "" | --check) ;;
  *) echo "usage: scripts/bindgen.sh [--check]" >&2 && exit 2 ;;
esac

. scripts/built.sh
case "$(uname -s)" in
  Darwin) library=$BUILT/libdyno_sdk.dylib ;;
  *) library=$BUILT/libdyno_sdk.so ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for language in kotlin swift; do
  "$BUILT/uniffi-bindgen" generate "$library" --config uniffi.toml --language "$language" \
    --no-format --out-dir "$scratch/$language"
done
mkdir -p "$scratch/$KOTLIN/ai/dyno/ffi" "$scratch/$SWIFT/DynoFFI" "$scratch/$SWIFT/CDynoFFI"
mv "$scratch/kotlin/ai/dyno/ffi/dyno_sdk.kt" "$scratch/$KOTLIN/ai/dyno/ffi/"
mv "$scratch/swift/DynoFFI.swift" "$scratch/$SWIFT/DynoFFI/"
mv "$scratch/swift/CDynoFFI.h" "$scratch/$SWIFT/CDynoFFI/"
mv "$scratch/swift/CDynoFFI.modulemap" "$scratch/$SWIFT/CDynoFFI/module.modulemap"
# The generator leaves spaces at the ends of lines.
find "$scratch/$KOTLIN" "$scratch/$SWIFT" -type f -exec sed -i.bak -e 's/[[:space:]]*$//' {} + -exec rm -f {}.bak \;

generated=("$KOTLIN/ai/dyno/ffi/dyno_sdk.kt" "$SWIFT/DynoFFI/DynoFFI.swift" "$SWIFT/CDynoFFI/CDynoFFI.h"
  "$SWIFT/CDynoFFI/module.modulemap")
for file in "${generated[@]}"; do
  if [ "${1:-}" = --check ]; then
    diff -u "$file" "$scratch/$file" >"$scratch/diff" || {
      head -40 "$scratch/diff"
      echo "$file is not what the bindings generate: run scripts/bindgen.sh and commit the result" >&2
      exit 1
    }
  else
    mkdir -p "$(dirname "$file")"
    cp "$scratch/$file" "$file"
  fi
done
