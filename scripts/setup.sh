#!/usr/bin/env bash
# Puts ONNX Runtime's library into .dyno/onnxruntime, from the wheel on PyPI: pinned by version and
# by hash. Does nothing where ORT_DYLIB_PATH names a library, or when it is there already.
#
#   setup.sh                     for this machine
#   setup.sh PLATFORM FOLDER     for another one, by its name in wheels, into another folder
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/wheel.sh

platform=${1:-} folder=${2:-.dyno/onnxruntime}
if [ -z "$platform" ] && [ -n "${ORT_DYLIB_PATH:-}" ]; then
  [ -f "$ORT_DYLIB_PATH" ] || { echo "ORT_DYLIB_PATH names $ORT_DYLIB_PATH, which is no file" >&2; exit 1; }
  echo "using ONNX Runtime from ORT_DYLIB_PATH: $ORT_DYLIB_PATH"
  exit 0
fi

requirements=scripts/onnxruntime.txt
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$requirements")
if [ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && [ -f "$folder/libonnxruntime.so" ]; then
  exit 0
fi

case "$platform-$(uname -s)-$(uname -m)" in
  -Linux-x86_64) platform=manylinux_2_28_x86_64 ;;
  -Linux-aarch64 | -Linux-arm64) platform=manylinux_2_28_aarch64 ;;
  -Darwin-arm64) platform=macosx_14_0_arm64 ;;
  -*)
    echo "no ONNX Runtime wheel for $(uname -s) on $(uname -m): install ONNX Runtime 1.22 or newer" \
      "and set ORT_DYLIB_PATH to its library" >&2
    exit 1
    ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo "fetching ONNX Runtime $version for $platform"
fetch_wheel "$requirements" "$scratch" --implementation cp --python-version 3.11 --abi cp311 --platform "$platform"
python3 - "$scratch" "$folder" <<'PY'
"""Takes the library out of the wheel and puts it in place in one step."""
import os, pathlib, re, sys, zipfile

scratch, folder = map(pathlib.Path, sys.argv[1:])
wheel = zipfile.ZipFile(next(scratch.glob("*.whl")))
library = re.compile(r"onnxruntime/capi/libonnxruntime(\.so\.[\d.]+|\.[\d.]+\.dylib)$")
name = next(name for name in wheel.namelist() if library.match(name))
folder.mkdir(parents=True, exist_ok=True)
partial = folder / "libonnxruntime.partial"
partial.write_bytes(wheel.read(name))
os.replace(partial, folder / "libonnxruntime.so")
PY
echo "$version" >"$folder/version"
