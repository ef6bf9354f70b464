# Sourced by check-android.sh: makes a stand-in for Android's NDK. It is none. It compiles C against musl's headers
# instead of bionic's, and links against libraries that hold the names in android-symbols.txt and no code.
# What is built with it shows that the sources compile, link and export, and must not go onto a phone.
# shellcheck shell=bash disable=SC2034 # some names are for whoever sources this

standin_ndk() {
  local architecture=aarch64 target=--target=aarch64-linux-android$ANDROID_API musl=$TOOLS/musl-arm64
  local ndk=$TOOLS/standin-ndk host sysroot libraries scratch library tool
  # shellcheck disable=SC2046 # the options are words
  unpack_package musl-arm64 musl-dev '' $(arm64_apt)
  host=$ndk/toolchains/llvm/prebuilt/linux-x86_64
  sysroot=$host/sysroot
  libraries=$sysroot/usr/lib/$architecture-linux-android/$ANDROID_API
  mkdir -p "$host/bin" "$host/lib/clang/$LLVM/lib/linux" "$libraries" "$sysroot/usr/include/$architecture-linux-android"
  # cargo-ndk reads these lines.
  printf 'Pkg.Desc = stand-in, not an NDK\nPkg.Revision = 28.0.0\n' >"$ndk/source.properties"
  for tool in clang clang++; do
    printf '#!/bin/sh\nexec /usr/bin/%s-%s --sysroot=%s -fuse-ld=lld "$@"\n' "$tool" "$LLVM" "$sysroot" >"$host/bin/$tool"
    chmod +x "$host/bin/$tool"
  done
  # As in an NDK: rustc calls its linker without a target.
  printf '#!/bin/sh\nexec %s/clang %s "$@"\n' "$host/bin" "$target" >"$host/bin/$architecture-linux-android$ANDROID_API-clang"
  chmod +x "$host/bin/$architecture-linux-android$ANDROID_API-clang"
  for tool in ar ranlib strip nm readelf; do
    ln -sfn "/usr/bin/llvm-$tool-$LLVM" "$host/bin/llvm-$tool"
  done

  scratch=$(mktemp -d)
  # What a library starts and ends with: its destructors run when it is closed.
  cat >"$scratch/crt.c" <<'C'
extern void __cxa_finalize(void *);
__attribute__((visibility("hidden"))) void *__dso_handle = &__dso_handle;
__attribute__((destructor)) static void on_close(void) { __cxa_finalize(&__dso_handle); }
C
  "clang-$LLVM" "$target" -fPIC -c "$scratch/crt.c" -o "$libraries/crtbegin_so.o"
  "clang-$LLVM" "$target" -fPIC -c -x c /dev/null -o "$libraries/crtend_so.o"
  for library in c m dl log unwind; do
    {
      echo .text
      listed_symbols "$library" | awk '{ printf ".globl %s\n.type %s,%%function\n%s: ret\n", $1, $1, $1 }'
    } >"$scratch/names.s"
    "clang-$LLVM" "$target" -c "$scratch/names.s" -o "$scratch/names.o"
    rm -f "$libraries/lib$library".*
    if [ "$library" = unwind ]; then
      "llvm-ar-$LLVM" rcs "$libraries/libunwind.a" "$scratch/names.o"
    else
      "ld.lld-$LLVM" -shared -m aarch64linux -soname "lib$library.so" -o "$libraries/lib$library.so" "$scratch/names.o"
    fi
  done
  rm -r "$scratch"
  STANDIN_BIN=$host/bin STANDIN_HEADERS=$musl/usr/include/$architecture-linux-musl
}
