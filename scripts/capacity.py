#!/usr/bin/env python3
"""How many servers so many phones need, and what that costs: the model of docs/scaling.md.

    capacity.py                          a table, with the example inputs below
    capacity.py --service-ms 4.2 --workers 4 --max-in-flight 28 --phones 1e5,1e6
    capacity.py --json                   the same for programs
    capacity.py --plot docs/scaling.svg  servers against phones
    capacity.py --test                   checks itself, against a simulation too

A server is a queue M/M/k/K: requests come at random (Poisson), k workers serve them, at most K are inside, and the
others are refused at once. Service times that vary less than exponential ones wait less: below the capacity waiting is
scaled by (1 + cv^2) / 2 (Allen and Cunneen), cv being their standard deviation over their mean; above it the queue is
full whatever they do. Refusals are those of M/M/k/K, which is on the safe side for cv < 1. Against a simulation it is
right within a quarter up to 70 % of the capacity, and again well above it; in between it is not used.
"""
import argparse
import dataclasses
import heapq
import json
import math
import random
import sys


@dataclasses.dataclass(frozen=True)
class Server:
    """One server. The numbers are examples until they are measured (docs/scaling.md says how)."""

    service_ms: float = 10.0  # mean time that a worker is busy with one inference: unpack and infer
    cv: float = 0.3  # standard deviation of that over its mean
    workers: int = 2  # --workers
    max_in_flight: int = 20  # --max-in-flight
    cores: int = 4
    batch_gain: float = 1.0  # throughput at saturation with batching over without
    memory_mb: float = 300.0  # without connections
    connection_kb: float = 31.0  # memory of an idle connection
    handshake_ms: float = 0.42  # processor time of a TLS handshake, with the connection's first request

    @property
    def capacity(self):
        """Inferences a second, all workers busy.

        >>> Server(service_ms=10, workers=2).capacity
        200.0
        """
        return self.workers * 1000 / self.service_ms * self.batch_gain


@dataclasses.dataclass(frozen=True)
class Load:
    """What phones want. All of it is an assumption about an app, none of it is measured."""

    active: float = 0.01  # share of the phones that use the feature, at the mean moment
    rate: float = 2.0  # inferences a second of one that does
    split: float = 0.5  # share of those that reach the server; the others end on the device
    peak: float = 3.0  # busiest moment over the mean one
    body_kb: float = 14.0  # what a split inference uploads
    answer_kb: float = 4.0
    connection_s: float = 300.0  # how long a phone keeps its connection


@dataclasses.dataclass(frozen=True)
class Goal:
    utilisation: float = 0.7  # of the capacity, at the peak
    refused: float = 1e-3  # share refused, at most
    p99_ms: float = math.inf
    spare: int = 1  # servers that may be missing at the peak
    core_hour: float = 1.0  # price of a core for an hour, in any currency: 1.0 is none


@dataclasses.dataclass(frozen=True)
class Outcome:
    utilisation: float
    refused: float
    accepted: float  # a second
    mean_wait_ms: float
    p99_ms: float


def queue(server, arrivals):
    """What becomes of `arrivals` requests a second at one server.

    One worker and one place is Erlang's B: at an offered load of 1, half is refused.

    >>> queue(Server(service_ms=10, cv=1, workers=1, max_in_flight=1), 100).refused
    0.5

    One worker and many places is M/M/1: at 50 %, the wait is as long as a service.

    >>> round(queue(Server(service_ms=10, cv=1, workers=1, max_in_flight=400), 50).mean_wait_ms, 6)
    10.0

    At three times the capacity two thirds are refused, and what is let in waits for a full queue and no longer.

    >>> over = queue(Server(), 600)
    >>> round(over.refused, 2), over.p99_ms < 20 / 200 * 1000 * 1.5
    (0.67, True)
    """
    k, places = server.workers, max(server.max_in_flight, server.workers)
    service_s = k / server.capacity
    offered = arrivals * service_s
    # Weights of n requests inside, relative to the largest, so that nothing overflows.
    logs = [0.0]
    for n in range(1, places + 1):
        logs.append(logs[-1] + math.log(offered / min(n, k)) if offered > 0 else -math.inf)
    top = max(logs)
    weights = [math.exp(log - top) for log in logs]
    total = sum(weights)
    share = [weight / total for weight in weights]
    refused = share[places]
    accepted = arrivals * (1 - refused)
    # Below the capacity, departures come at random and regular services shorten the wait; a full queue departs as
    # regularly as services end.
    scale, spread = ((1 + server.cv**2) / 2, 1.0) if offered < k else (1.0, server.cv**2)
    each_s = scale / server.capacity
    # Whoever finds n >= k inside waits for n - k + 1 departures.
    found = [(share[n] / (1 - refused), max(0, n - k + 1)) for n in range(places)] if refused < 1 else []
    wait_s = sum(p * departures * each_s for p, departures in found)
    times = []
    for p, departures in found:
        mean = departures * each_s + service_s
        variance = departures * spread * each_s**2 + (server.cv * service_s) ** 2
        times.append((p, mean, max(variance, 1e-6 * mean**2)))
    return Outcome(accepted / server.capacity, refused, accepted, wait_s * 1000, _quantile(times, 0.99) * 1000)


def _quantile(times, q):
    """Of a mixture of gamma distributions (share, mean, variance): the least t with P(time <= t) >= q."""

    def late(t):
        return sum(p * _gamma_above(mean**2 / variance, t * mean / variance) for p, mean, variance in times if p > 1e-9)

    low, high = 0.0, 1e-3
    while late(high) > 1 - q:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if late(middle) > 1 - q else (low, middle)
    return high


def _gamma_above(shape, x):
    """P(X > x) of a gamma distribution with scale 1.

    >>> round(_gamma_above(1, 2) - math.exp(-2), 12), round(_gamma_above(400, 400), 3)
    (0.0, 0.493)
    """
    if x <= 0:
        return 1.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        n = shape
        while term > total * 1e-12:
            n += 1
            term *= x / n
            total += term
        return max(0.0, 1 - front * total)
    # Lentz's continued fraction.
    b = x + 1 - shape
    c, d = 1e300, 1 / b
    h = d
    for i in range(1, 500):
        a = -i * (i - shape)
        b += 2
        d = 1 / (a * d + b or 1e-300)
        c = b + a / c or 1e-300
        h *= d * c
        if abs(d * c - 1) < 1e-12:
            break
    return front * h


def plan(phones, server=Server(), load=Load(), goal=Goal()):
    """How many servers, and what each of them sees at the peak.

    >>> p = plan(1_000_000)
    >>> p["peak_per_s"], p["servers"]
    (30000.0, 216)

    Twice the batching is half the servers.

    >>> plan(1_000_000, Server(batch_gain=2.0))["servers"]
    109
    """
    peak = phones * load.active * load.rate * load.split * load.peak
    mean = peak / load.peak
    needed = max(1, math.ceil(peak / (goal.utilisation * server.capacity)))
    while True:
        outcome = queue(server, peak / needed)
        if outcome.refused <= goal.refused and outcome.p99_ms <= goal.p99_ms:
            break
        if peak / needed < server.capacity * 1e-3:
            raise SystemExit("no number of servers meets this: one alone is too slow, or has too few places")
        needed += max(1, needed // 100)
    servers = needed + goal.spare
    connections = phones * load.active * load.peak
    each = connections / needed
    hour = server.cores * goal.core_hour
    return {
        "phones": phones,
        "peak_per_s": peak,
        "servers": servers,
        "cores": servers * server.cores,
        "utilisation": round(outcome.utilisation, 3),
        "refused": outcome.refused,
        "p99_ms": round(outcome.p99_ms, 1),
        "in_flight_per_server": round(outcome.accepted * (outcome.mean_wait_ms + server.service_ms / server.batch_gain) / 1000, 2),
        "uplink_mbit_per_server": round(peak / needed * load.body_kb * 8 / 1000, 2),
        "uplink_gbit": round(peak * load.body_kb * 8 / 1e6, 3),
        "downlink_gbit": round(peak * load.answer_kb * 8 / 1e6, 3),
        "connections": round(connections),
        "connections_per_server": round(each),
        "memory_mb_per_server": round(server.memory_mb + each * server.connection_kb / 1024),
        "handshakes_per_s": round(connections / load.connection_s, 1),
        "handshake_cores": round(connections / load.connection_s * server.handshake_ms / 1000, 3),
        # Servers for the peak that run all day, and as many as the moment needs.
        "cost_per_million_fixed": servers * hour / (mean * 3600) * 1e6,
        "cost_per_million_elastic": hour / (goal.utilisation * server.capacity * 3600) * 1e6,
    }


def simulate(server, arrivals, count, seed):
    """The same server, request by request: the share refused, the mean wait and the 99th percentile, in ms."""
    chance = random.Random(seed)
    service_s = server.workers / server.capacity
    now, inside, free = 0.0, [], [0.0] * server.workers
    refused, waits, times = 0, 0.0, []
    # Gamma service times: any mean and any cv.
    shape = 1 / server.cv**2
    for _ in range(count):
        now += chance.expovariate(arrivals)
        while inside and inside[0] <= now:
            heapq.heappop(inside)
        if len(inside) >= server.max_in_flight:
            refused += 1
            continue
        start = max(now, heapq.heappop(free))
        end = start + chance.gammavariate(shape, service_s / shape)
        heapq.heappush(free, end)
        heapq.heappush(inside, end)
        waits += start - now
        times.append(end - now)
    times.sort()
    return refused / count, waits / len(times) * 1000, times[int(len(times) * 0.99)] * 1000


def test():
    import doctest

    failures = doctest.testmod().failed
    # (server, load over capacity, share refused may differ by, mean wait and p99 may differ by)
    cases = [
        (Server(cv=cv, workers=workers, max_in_flight=4 * workers + 12), share, refusal, relative)
        for workers in (1, 2, 4, 8)
        for cv in (0.1, 1.0)
        for share, refusal, relative in ((0.5, 0.002, 0.25), (0.7, 0.002, 0.25), (3.0, 0.01, 0.25))
    ]
    for server, share, refusal, relative in cases:
        model = queue(server, share * server.capacity)
        refused, wait, p99 = simulate(server, share * server.capacity, 120_000, seed=7)
        far = [
            abs(model.refused - refused) > refusal,
            abs(model.mean_wait_ms - wait) > relative * max(wait, 1.0),
            abs(model.p99_ms - p99) > relative * p99,
        ]
        failures += any(far)
        verdict = "too far" if any(far) else "close"
        print(
            f"{verdict}: cv {server.cv}, {server.workers} workers, load {share}: refused {model.refused:.4f}/{refused:.4f}, "
            f"wait {model.mean_wait_ms:.2f}/{wait:.2f} ms, p99 {model.p99_ms:.1f}/{p99:.1f} ms (model/simulated)"
        )
    print(f"{len(cases)} simulated, {failures} wrong")
    return failures


LINES = [
    ("every photo to the server", 1.0, 1.0, "#b3261e"),
    ("half of them split (the example)", 0.5, 1.0, "#1f5fbf"),
    ("half split, batching worth 2x", 0.5, 2.0, "#0b8a5f"),
    ("a tenth split (the device does the rest)", 0.1, 1.0, "#8a5a00"),
]


def plot():
    """Servers against phones, both logarithmic, as SVG."""
    width, height, left, right, top, bottom = 720, 420, 64, 16, 44, 52
    lowest, highest, most = 3, 6, 3

    def x(phones):
        return left + (math.log10(phones) - lowest) / (highest - lowest) * (width - left - right)

    def y(servers):
        return height - bottom - math.log10(servers) / most * (height - top - bottom)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15" fill="#222">Servers that phones need (example inputs, one spare included)</text>',
    ]
    for power in range(lowest, highest + 1):
        label = {3: "1,000", 4: "10,000", 5: "100,000", 6: "1 million"}[power]
        at, anchor = x(10**power), "end" if power == highest else "middle"
        out.append(f'<path d="M{at:.1f} {top}V{height - bottom}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{height - bottom + 18}" text-anchor="{anchor}" fill="#444">{label}</text>')
    for power in range(most + 1):
        at = y(10**power)
        out.append(f'<path d="M{left} {at:.1f}H{width - right}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#444">{10**power:,}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle" fill="#444">phones that have the app</text>')
    out.append(f'<text transform="translate(18 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#444">servers</text>')
    steps = [10 ** (lowest + i / 40) for i in range((highest - lowest) * 40 + 1)]
    for number, (label, split, gain, colour) in enumerate(LINES):
        points = []
        for phones in steps:
            servers = plan(phones, Server(batch_gain=gain), Load(split=split))["servers"]
            points.append(f"{x(phones):.1f},{y(servers):.1f}")
        out.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = top + 18 + number * 18
        out.append(f'<path d="M{left + 12} {at - 4}h22" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{left + 40}" y="{at}" fill="#222">{label}</text>')
    return "\n".join([*out, "</svg>", ""])


def table(rows):
    columns = [
        ("phones", "{phones:,.0f}"), ("peak/s", "{peak_per_s:,.0f}"), ("servers", "{servers:,}"), ("cores", "{cores:,}"),
        ("p99 ms", "{p99_ms}"), ("refused", "{refused:.0e}"), ("in flight", "{in_flight_per_server}"),
        ("uplink Gbit/s", "{uplink_gbit}"), ("Mbit/s each", "{uplink_mbit_per_server}"),
        ("connections", "{connections:,}"), ("each", "{connections_per_server:,}"), ("MB each", "{memory_mb_per_server:,}"),
        ("handshakes/s", "{handshakes_per_s:,}"), ("cost/million fixed", "{cost_per_million_fixed:.2f}"),
        ("elastic", "{cost_per_million_elastic:.2f}"),
    ]  # fmt: skip
    cells = [[name for name, _ in columns], *[[text.format(**row) for _, text in columns] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", default="1e3,1e4,1e5,1e6", help="numbers of phones, with commas between them")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", metavar="SVG")
    parser.add_argument("--check-plot", metavar="SVG", help="fails if the file is not what --plot would write")
    parser.add_argument("--test", action="store_true")
    kinds = (Server, Load, Goal)
    for kind in kinds:
        for field in dataclasses.fields(kind):
            parser.add_argument("--" + field.name.replace("_", "-"), type=field.type, default=field.default, metavar="N")
    given = parser.parse_args()
    if given.test:
        return 1 if test() else 0
    if given.plot:
        with open(given.plot, "w", encoding="utf-8") as file:
            file.write(plot())
        return 0
    if given.check_plot:
        with open(given.check_plot, encoding="utf-8") as file:
            if file.read() != plot():
                print(f"{given.check_plot} is old: scripts/capacity.py --plot {given.check_plot}", file=sys.stderr)
                return 1
        return 0
    server, load, goal = (kind(**{f.name: getattr(given, f.name) for f in dataclasses.fields(kind)}) for kind in kinds)
    rows = [plan(float(phones), server, load, goal) for phones in given.phones.split(",")]
    print(json.dumps(rows, indent=1) if given.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
