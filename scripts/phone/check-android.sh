#!/usr/bin/env bash
# Builds the Android library without Android's NDK, against a stand-in, and reads what came out: pages of 16 KB,
# the names it asks for, its exports. It proves that the sources compile and link for Android, and no more than that:
# nothing of it runs, and nothing of it is shipped (docs/phone-builds.md).
#
#   check-android.sh            an unoptimised build (CI's)
#   check-android.sh --phone    the profile that ships, and its size
set -euo pipefail
cd "$(dirname "$0")/../.."
CHECK="the Android check"
. scripts/phone/tools.sh
. scripts/phone/android.sh
. scripts/phone/standin-ndk.sh

PROFILE=quick
case "${1:-}" in
  '') ;;
  --phone) PROFILE=phone ;;
  *) fail "unknown option $1 (there is --phone)" ;;
esac

need_debian "with an NDK, make android-libs builds the real one"
install_rust_from_source
standin_ndk
done_installing

target=aarch64-linux-android
target_folder standin-android
export CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER=$STANDIN_BIN/$target$ANDROID_API-clang
export CC_aarch64_linux_android=$STANDIN_BIN/clang AR_aarch64_linux_android=$STANDIN_BIN/llvm-ar
export CFLAGS_aarch64_linux_android="--target=$target$ANDROID_API -nostdlibinc -isystem $STANDIN_HEADERS"
options=("${QUICK[@]}")
[ "$PROFILE" = quick ] || options=(--profile "$PROFILE")
/usr/bin/cargo rustc --locked -p dyno-bindings --lib --crate-type cdylib "${BUILD_STD[@]}" --target "$target" "${options[@]}"

READELF=$STANDIN_BIN/llvm-readelf NM=$STANDIN_BIN/llvm-nm
library=$CARGO_TARGET_DIR/$target/$PROFILE/libdyno_sdk.so
check_android_library "$library" AArch64
[ "$PROFILE" = quick ] || check_android_size "$library" arm64-v8a
echo "1 passed: the Android library, linked against a stand-in for the NDK; it was not run"
