# Sourced by what makes an Android library: what it must be, read from its ELF headers and symbols.
# READELF and NM name LLVM's tools; `fail` is the caller's.
# shellcheck shell=bash disable=SC2034 # some names are for whoever sources this

# Android 7.0, the oldest that is supported.
ANDROID_API=24
ANDROID_SYMBOLS=scripts/phone/android-symbols.txt
ANDROID_SIZES=scripts/phone/android-size.txt

# The names in android-symbols.txt of the libraries named.
listed_symbols() { # LIBRARIES...
  sed 's/ *#.*//' "$ANDROID_SYMBOLS" |
    awk -v wanted=" $* " 'NF == 2 && index(wanted, " " $2 " ") { print $1 }' | LC_ALL=C sort -u
}

check_android_library() { # LIBRARY MACHINE
  local library=$1 machine=$2 headers dynamic alignment needed unknown symbols missing exports
  headers=$("$READELF" -hW "$library")
  grep -q "Machine:.*$machine" <<<"$headers" || fail "$library is not for $machine"

  # Phones with pages of 16 KB load nothing that is aligned to less.
  headers=$("$READELF" -lW "$library" | awk '$1 == "LOAD" { print $NF }')
  [ -n "$headers" ] || fail "$library has nothing to load"
  for alignment in $headers; do
    ((alignment >= 16384)) || fail "$library has a segment aligned to $((alignment)) bytes, and 16384 are asked for"
  done

  # What is opened by name when it is wanted (ONNX Runtime, libjnigraphics) must not be needed to load.
  dynamic=$("$READELF" -dW "$library")
  needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic" | LC_ALL=C sort)
  unknown=$(grep -vxE 'lib(c|dl|log|m)\.so' <<<"$needed" || true)
  [ -z "$unknown" ] || fail "$library needs ${unknown//$'\n'/ }"
  ! grep -q TEXTREL <<<"$dynamic" || fail "$library has relocations in its code"

  # Weak names may be missing on an old phone (std asks so for getrandom, of API 28). Unwinding is linked in.
  symbols=$("$NM" -D --undefined-only "$library" | awk '$1 == "U" { sub(/@.*/, "", $2); print $2 }' | LC_ALL=C sort -u)
  unknown=$(LC_ALL=C comm -23 <(echo "$symbols") <(listed_symbols c dl log m))
  [ -z "$unknown" ] || fail "$library asks for names that are not in $ANDROID_SYMBOLS: ${unknown//$'\n'/ }"

  # The doors for Kotlin: UniFFI's through JNA, and those of JNI.
  symbols=$("$NM" -D --defined-only "$library" | awk '$2 == "T" { print $3 }')
  for missing in '^uniffi_dyno_' '^ffi_dyno_' '^Java_ai_dyno_DynoNative_'; do
    grep -q "$missing" <<<"$symbols" || fail "$library exports nothing that matches $missing"
  done
  exports=$(grep -cE '^(uniffi_|ffi_|JNI_|Java_)' <<<"$symbols")
  echo "$library: pages of 16 KB, needs ${needed//$'\n'/ }, $exports exports, every name it asks for is listed"
}

# Stripped, without ONNX Runtime, which is a library of its own.
check_android_size() { # LIBRARY ABI
  local size limit
  size=$(stat -c %s "$1" 2>/dev/null || stat -f %z "$1")
  limit=$(awk -v abi="$2" '$1 == abi { print $2 }' "$ANDROID_SIZES")
  [ -n "$limit" ] || fail "$ANDROID_SIZES has no limit for $2"
  echo "$1: $size bytes, limit $limit"
  ((size <= limit)) || fail "$1 is larger than its limit ($ANDROID_SIZES)"
}
