#!/usr/bin/env bash
# Compiles the Kotlin library, the Android module and the sample on a plain JVM, and runs their tests
# against the native library and a real dyno-server, both built for this machine. With --bench it
# prints what crossing the boundary costs instead.
#
# It runs itself in the world of the SDK's tests (scripts/sdk-world.sh), which is built first. MVN_FLAGS
# are handed to Maven: -Pgoogle where its repository has no androidx.test:monitor.
set -euo pipefail
cd "$(dirname "$0")/.."

MVN=${MVN:-mvn}
case "${1:-}" in
  "" | --bench) ;;
  *) echo "usage: scripts/test-kotlin.sh [--bench]" >&2 && exit 2 ;;
esac

fail() {
  echo "$1" >&2
  exit 1
}
java=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || true
[ "${java:-0}" -ge 17 ] || fail "the Kotlin tests need Java 17 or newer (Debian: apt-get install openjdk-17-jdk-headless)"
command -v "$MVN" >/dev/null || fail "the Kotlin tests need Maven (Debian: apt-get install maven)"
command -v "${CC:-cc}" >/dev/null || fail "the Kotlin tests need a C compiler (Debian: apt-get install gcc)"

# A measurement wants the build that ships.
[ "${1:-}" != --bench ] || export DYNO_PROFILE=release
[ -n "${DYNO_SDK_SCENARIOS:-}" ] || exec scripts/sdk-world.sh scripts/test-kotlin.sh "$@"
export DYNO_BIN=$DYNO_SDK_LIB/dyno

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

maven() {
  # Quiet apart from what failed: the tests are listed below.
  # shellcheck disable=SC2086 # several flags
  "$MVN" ${MVN_FLAGS:-} --quiet --batch-mode --no-transfer-progress --file android/pom.xml "$@"
}

if [ "${1:-}" = --bench ]; then
  maven --projects lib test-compile exec:exec -Dexec.classpathScope=test -Dexec.executable=java \
    -Dexec.args="-Djna.library.path=$DYNO_SDK_LIB -classpath %classpath ai.dyno.FfiCostKt"
  exit
fi

# What Android's libjnigraphics does, for the bitmaps of Robolectric: a stand-in, for these tests only.
javac=$(readlink -f "$(command -v javac)") || fail "the Kotlin tests need a JDK, not just Java to run"
include=$(dirname "$(dirname "$javac")")/include
"${CC:-cc}" -shared -fPIC -O1 -Wall -Wextra -Werror -I"$include" -I"$include/linux" \
  -o "$scratch/libjnigraphics.so" android/sdk/src/test/native/jnigraphics_stand_in.c
export LD_LIBRARY_PATH=$scratch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# The JVM checks every use of JNI (-Xcheck:jni) and warns, with a trace, of nearly every call of JNA and
# Robolectric. Those are dropped; one about our own door ends the run.
sift() {
  awk '{ gsub(/\033\[[0-9;]*m/, "") }
    /^$/ { next }
    /^WARNING(: JNI| in native method)/ { warning = $0; next }
    warning != "" && /^\tat ai\.dyno\.DynoNative\./ { print warning; print; ours = 1 }
    { warning = "" }
    /^\t(at|-) |^\(a .*\)$/ { next }
    { print }
    END { exit ours }'
}

rm -rf android/*/target/surefire-reports
status=0
maven test 2>&1 | sift || status=$?
python3 - "$status" android/*/target/surefire-reports/TEST-*.xml <<'PY'
"""Lists the tests that ran, and counts them."""
import sys
import xml.etree.ElementTree as xml

status, *reports = sys.argv[1:]
counts = {"ok": 0, "FAILED": 0, "skipped": 0}
for report in filter(lambda name: "*" not in name, reports):
    for case in xml.parse(report).getroot().iter("testcase"):
        failures = case.findall("failure") + case.findall("error")
        outcome = "FAILED" if failures else "skipped" if case.find("skipped") is not None else "ok"
        counts[outcome] += 1
        print(f"{outcome:8}{case.get('classname').rsplit('.', 1)[-1]}: {case.get('name')}")
        for failure in failures:
            print("\n".join((failure.text or "").splitlines()[:20]))
if status != "0" and not counts["FAILED"]:
    sys.exit("the Kotlin code could not be built or tested: see above")
skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
print(f"{counts['ok']} passed, {counts['FAILED']} failed{skipped}")
sys.exit(status != "0")
PY
