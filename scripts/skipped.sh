#!/usr/bin/env bash
# Says at the end of `make test` what was not tested, and how to test it.
set -euo pipefail
if [ -z "${DYNO_TEST_DATA:-}" ]; then
  echo "skipped: tests on real models and photos (set DYNO_TEST_DATA to the folder with models/ and images/)"
elif [ ! -d "$DYNO_TEST_DATA/models" ]; then
  echo "skipped: tests on real models and photos ($DYNO_TEST_DATA has no models/)"
fi
if [ "$(id -u)" != 0 ] || [ ! -e /dev/net/tun ]; then
  echo "skipped: tests over emulated links (they need root, network namespaces and /dev/net/tun)"
fi
echo "not part of this: longer fuzzing (make fuzz), conformance of HTTP/2 (make h2spec), deploy/ (make check-deploy), phone builds and 64-bit Arm (make phone-checks), dependency checks (make deny), benchmarks (make bench)"
