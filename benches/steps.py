#!/usr/bin/env python3
"""How many calls DynO takes to find its plan after the link's rate has changed at once.

    benches/steps.py BUNDLE...        (needs target/release/dyno: make build)

Simulates calls for least latency on a link that has one rate for 20 s and another for 20 s more, for every pair of
RATES_MBIT and every device of SLOWDOWNS, and counts the calls after the step until five in a row take, on the mean, at most 1.10 times
what the oracle takes on a link that always had the second rate. Calls are 100 ms apart. In virtual time: the same on
any machine.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

DYNO = pathlib.Path(__file__).resolve().parent.parent / "target/release/dyno"
RATES_MBIT = [2, 10, 50]
SLOWDOWNS = [4, 16, 64]
STEP_S = 20
MOST_CALLS = 3
WITHIN = 1.10
IN_A_ROW = 5


def simulate(bundle, slowdown, *link):
    fixed = ["--objective", "latency", "--pause-ms", "100", "--device-slowdown", str(slowdown), "--json"]
    command = [DYNO, "simulate", "--bundle", bundle, *fixed, *link]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["policies"]


def calls_until_back(bundle, slowdown, before, after, folder):
    trace, calls = folder / "step.csv", folder / "calls.jsonl"
    rows = [(t, before if t < STEP_S * 1000 else after) for t in range(0, 2 * STEP_S * 1000, 100)]
    trace.write_text("t_ms,kbit_s\n" + "".join(f"{t},{mbit * 1000}\n" for t, mbit in rows))
    wanted = simulate(bundle, slowdown, "--rate-mbit", str(after), "--seconds", str(STEP_S))
    simulate(bundle, slowdown, "--trace", trace, "--seconds", str(2 * STEP_S), "--calls-out", calls)
    most_ms = WITHIN * wanted["oracle"]["latency_ms"]["mean"]
    lines = map(json.loads, calls.read_text().splitlines())
    later = [line["latency_ms"] for line in lines if line["start_ms"] >= STEP_S * 1000]
    for count in range(len(later) - IN_A_ROW):
        if sum(later[count : count + IN_A_ROW]) <= IN_A_ROW * most_ms:
            return count
    return None


def main(bundles):
    if not bundles or not DYNO.exists():
        sys.exit(__doc__)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for bundle, slowdown in itertools.product(bundles, SLOWDOWNS):
            for before, after in itertools.permutations(RATES_MBIT, 2):
                count = calls_until_back(bundle, slowdown, before, after, pathlib.Path(folder))
                found.append(count)
                told = "not within 20 s" if count is None else f"{count} calls"
                print(f"{pathlib.Path(bundle).name}, device x{slowdown}, {before} -> {after} Mbit/s: {told}")
    good = sum(count is not None and count <= MOST_CALLS for count in found)
    print(f"{good} of {len(found)} steps: back within {WITHIN} of the oracle in {MOST_CALLS} calls")


main(sys.argv[1:])
