#!/usr/bin/env bash
# Builds the static library for iPhones without Apple's SDK, against a stand-in, and reads what came out: the kind of
# its objects, its exports, the names it leaves to the system. It proves that the sources compile for iOS, and no more
# than that: nothing is linked into an app, nothing runs, and nothing of it is shipped (docs/phone-builds.md).
#
#   check-ios.sh [aarch64-apple-ios | aarch64-apple-ios-sim]
set -euo pipefail
cd "$(dirname "$0")/../.."
CHECK="the iOS check"
. scripts/phone/tools.sh
. scripts/phone/ios.sh
. scripts/wheel.sh

target=${1:-aarch64-apple-ios}

# A stand-in for the SDK: the C library's headers as Zig ships them, and nothing else.
standin_sdk() {
  local wanted scratch
  wanted=$(sed -n 's/^ziglang==\([0-9.]*\).*/\1/p' scripts/phone/darwin-headers.txt)
  STANDIN_SDK=$TOOLS/standin-ios-sdk
  [ "$(cat "$STANDIN_SDK/version" 2>/dev/null)" != "$wanted" ] || return 0
  scratch=$(mktemp -d)
  fetch_wheel scripts/phone/darwin-headers.txt "$scratch"
  rm -rf "$STANDIN_SDK"
  python3 - "$scratch" "$STANDIN_SDK" <<'PY'
"""Takes the headers and the list of names out of the wheel."""
import pathlib, sys, zipfile

scratch, sdk = map(pathlib.Path, sys.argv[1:])
wheel = zipfile.ZipFile(next(scratch.glob("*.whl")))
folders = {"ziglang/lib/libc/include/any-darwin-any/": "usr/include", "ziglang/lib/libc/darwin/": "usr/lib"}
for info in wheel.infolist():
    for folder, place in folders.items():
        if info.filename.startswith(folder) and not info.is_dir():
            target = sdk / place / info.filename.removeprefix(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(info))
PY
  echo '{"Version":"18.0","MaximumDeploymentTarget":"18.0.99"}' >"$STANDIN_SDK/SDKSettings.json"
  echo "$wanted" >"$STANDIN_SDK/version"
  rm -r "$scratch"
}

need_debian "on a Mac, make ios-libs builds the real one"
install_rust_from_source
standin_sdk
done_installing

target_folder standin-ios
# With SDKROOT set nothing asks Xcode where its SDK is.
export SDKROOT=$STANDIN_SDK
name=${target//-/_}
export "CC_$name=clang-$LLVM" "AR_$name=llvm-ar-$LLVM"
/usr/bin/cargo rustc --locked -p dyno-bindings --lib --crate-type staticlib "${BUILD_STD[@]}" --target "$target" "${QUICK[@]}"

library=$CARGO_TARGET_DIR/$target/quick/libdyno_sdk.a
NM=llvm-nm-$LLVM
check_ios_exports "$library"
python3 - "$library" "$STANDIN_SDK/usr/lib/libSystem.tbd" "$LLVM" <<'PY'
"""Every object must be for an iPhone, and every name that none of them has must be Apple's."""
import re, subprocess, sys

library, system_names, llvm = sys.argv[1:]


def read(tool, *options):
    return subprocess.run([f"{tool}-{llvm}", *options, library], capture_output=True, text=True, check=False).stdout


def symbols(*options):
    return {line for line in read("llvm-nm", "-j", *options).splitlines() if line and not line.endswith(":")}


objects = re.findall(r"^Format: (.*)$", read("llvm-readobj", "--file-header"), re.M)
platforms = re.findall(r"^ *Platform: (.*)$", read("llvm-readobj", "--macho-version-min"), re.M)
print(f"{library}: {len(objects)} objects of {set(objects)}, {len(platforms)} of them for {set(platforms)}")
if set(objects) != {"Mach-O arm64"} or len(set(platforms)) != 1:
    sys.exit(1)

wanted = symbols("--undefined-only") - symbols("--defined-only")
# ONNX Runtime's door is the app's to link (core/src/runtime/library_linked.rs).
if "_OrtGetApiBase" not in wanted:
    sys.exit(f"{library} does not ask for OrtGetApiBase")
wanted.remove("_OrtGetApiBase")
# The list is that of macOS: there is none of iOS outside of its SDK. Frameworks are told by their prefixes.
system = set(re.findall(r"(_[A-Za-z0-9_$.]+)", open(system_names).read()))
unknown = sorted(name for name in wanted - system if not re.match(r"_(CF|kCF|Sec|kSec|SSL)", name))
if unknown:
    sys.exit(f"{library} asks for names that Apple's libraries do not have: {' '.join(unknown)}")
print(f"{library}: {len(wanted)} names of the system, every one known, and OrtGetApiBase")
PY
echo "1 passed: the static library for $target, built against a stand-in for the SDK; it was neither linked nor run"
