#!/usr/bin/env python3
"""How many calls DynO takes to find its plan after the link's rate has changed at once.

    benches/steps.py BUNDLE...        (needs target/release/dyno: make build)

Simulates calls for least latency on a link that has one rate at first and another for 20 s more, for every pair of
RATES_MBIT and every device of SLOWDOWNS, and counts the calls after the step until five in a row take, on the mean, at most 1.10 times
what the oracle takes on a link that always had the second rate. Calls are 100 ms apart. Each step is taken at several MOMENTS_S, and what
the first, second, ... call after it takes is the mean of all: which photos are looked at twice, and when the last probe was,
is chance. In virtual time: the same on any machine.
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
MOMENTS_S = [20 + 1.3 * i for i in range(8)]
AFTER_S = 20
MOST_CALLS = 3
WITHIN = 1.10
IN_A_ROW = 5


def simulate(bundle, slowdown, *link):
    fixed = ["--objective", "latency", "--pause-ms", "100", "--device-slowdown", str(slowdown), "--json"]
    command = [DYNO, "simulate", "--bundle", bundle, *fixed, *link]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["policies"]


def latencies_after(bundle, slowdown, before, after, step_s, folder):
    """Of all calls that begin after the step, in milliseconds."""
    trace, calls = folder / "step.csv", folder / "calls.jsonl"
    end_s = step_s + AFTER_S
    rows = [(t, before if t < step_s * 1000 else after) for t in range(0, int(end_s * 1000), 100)]
    trace.write_text("t_ms,kbit_s\n" + "".join(f"{t},{mbit * 1000}\n" for t, mbit in rows))
    simulate(bundle, slowdown, "--trace", trace, "--seconds", str(end_s), "--calls-out", calls)
    lines = map(json.loads, calls.read_text().splitlines())
    return [line["latency_ms"] for line in lines if line["start_ms"] >= step_s * 1000]


def calls_until_back(latencies_ms, most_ms):
    for count in range(len(latencies_ms) - IN_A_ROW):
        if sum(latencies_ms[count : count + IN_A_ROW]) <= IN_A_ROW * most_ms:
            return count
    return None


def told(count):
    return f"not within {AFTER_S} s" if count is None else f"{count}"


def main(bundles):
    if not bundles or not DYNO.exists():
        sys.exit(__doc__)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for bundle, slowdown in itertools.product(bundles, SLOWDOWNS):
            for before, after in itertools.permutations(RATES_MBIT, 2):
                wanted = simulate(bundle, slowdown, "--rate-mbit", str(after), "--seconds", str(AFTER_S))
                most_ms = WITHIN * wanted["oracle"]["latency_ms"]["mean"]
                step = (bundle, slowdown, before, after)
                runs = [latencies_after(*step, step_s, pathlib.Path(folder)) for step_s in MOMENTS_S]
                count = calls_until_back([sum(calls) / len(calls) for calls in zip(*runs)], most_ms)
                found.append(count)
                each = ", ".join(told(calls_until_back(run, most_ms)) for run in runs)
                name = f"{pathlib.Path(bundle).name}, device x{slowdown}, {before} -> {after} Mbit/s"
                print(f"{name}: {told(count)} calls (each by itself: {each})", flush=True)
    good = sum(count is not None and count <= MOST_CALLS for count in found)
    print(f"{good} of {len(found)} steps: back within {WITHIN} of the oracle in {MOST_CALLS} calls")


main(sys.argv[1:])
