"""A run's results: one JSON object, from which tables and pictures are made.

`totals`, for each pool and `all`: what was `offered`, how that ended (the kinds of `sluice.load.kind`, which add up to
it), `availability` (answered in time, of all offered) with its Wilson interval of 95 %, and latency percentiles.
`statuses`, `tiers`, `levels` ("0", "1", "1+3") and `degraded_from` count answers. `windows` hold, for each stretch of
`plan.window_s` seconds and each pool: `offered` by the scheduled instant, `kept` of these, ends by the instant of
ending; and `sent` attempts, queue times as answers tell them, tiers and levels. `fleet` has a row for each picture of
the fleet that the governor gave: levels and shares in force, signals, queues, members. `generator` says what the load
itself cost and how late it was; where that says that the run means nothing, `problems` says so and `valid` is false.
Times are seconds from the run's start, except those in `_ms`; `begun_at` is that start, in seconds of the epoch.
"""

from __future__ import annotations

import math
import os
import platform
from typing import Any

from sluice.load.histogram import Histogram
from sluice.load.kind import POOLS, Kind
from sluice.load.run import Recording
from sluice.load.window import Window

# How far a share that was counted can be trusted.


Z_95 = 1.959963984540054


def wilson(successes: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), 95 % by default; all of [0, 1] without trials."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    # Rounding must not cast doubt on what is certain.
    low = middle - half if successes else 0.0
    return low, middle + half if successes < trials else 1.0


SCHEMA = 1
# Beyond these a run says more about its generator than about the mesh.
MAX_LAG_P99_MS = 10.0
MAX_LOOP_SHARE = 0.85


def result(recording: Recording) -> dict[str, Any]:
    """Everything that the run came to. `valid` says whether the generator kept up; `problems`, where it did not."""
    tally, plan = recording.tally, recording.plan
    total = Window()
    for window in tally.windows.values():
        total.merge(window)
    generator = _generator(recording, sum(_offered(total, pool) for pool in POOLS))
    problems = _problems(generator)
    return {
        "schema": SCHEMA,
        "begun_at": round(recording.begun_at, 3),
        "plan": plan.model_dump(mode="json", exclude={"texts"}) | {"texts": len(plan.texts)},
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "valid": not problems,
        "problems": problems,
        "totals": {pool: _totals(total, (pool,)) for pool in POOLS} | {"all": _totals(total, POOLS)},
        "statuses": tally.whole.group("status"),
        "tiers": total.group("tier"),
        "levels": total.group("level"),
        "degraded_from": tally.whole.group("degraded_from"),
        "accuracy": _ratio(tally.whole.counts["labels.right"], tally.whole.counts["labels.known"]),
        "queue_ms": total.histograms["queue"].summary(),
        "refusal_ms": tally.whole.histograms["refusal"].summary(),
        "conversations": None if plan.turns is None else {pool: _conversations(tally.whole, pool) for pool in POOLS},
        "generator": generator,
        "windows": [tally.windows[place].report(place * plan.window_s) for place in sorted(tally.windows)],
        "fleet": recording.fleet,
        "histograms": {name: one.to_json() for name, one in total.histograms.items()},
    }


def _offered(window: Window, pool: str) -> int:
    return window.counts[f"{pool}.offered"]


def _totals(window: Window, pools: tuple[str, ...]) -> dict[str, Any]:
    offered = sum(_offered(window, pool) for pool in pools)
    ended = {kind.value: sum(window.counts[f"{pool}.{kind}"] for pool in pools) for kind in Kind}
    low, high = wilson(ended[Kind.OK], offered)
    latency = Histogram()
    for pool in pools:
        latency.merge(window.histograms[f"{pool}.latency"])
    return {
        "offered": offered,
        **ended,
        "availability": _ratio(ended[Kind.OK], offered),
        "availability_95": [low, high],
        "latency_ms": latency.summary(),
    }


def _conversations(whole: Window, pool: str) -> dict[str, Any]:
    """Lost ones as a share of those whose end was seen. That is a little too many: the lost end early."""
    names = ("begun", "finished", "lost", "unfinished")
    counts = {name: whole.counts[f"{pool}.conversations.{name}"] for name in names}
    return counts | {"lost_ratio": _ratio(counts["lost"], counts["lost"] + counts["finished"])}


def _generator(recording: Recording, offered: int) -> dict[str, Any]:
    cpu_s = sum(cost.cpu_s for cost in recording.costs.values())
    shares = [cost.loop_cpu_s / cost.passed_s for cost in recording.costs.values()]
    return {
        "processes": recording.plan.processes,
        "lag_ms": recording.tally.whole.histograms["lag"].summary(),
        "cpu_s": round(cpu_s, 3),
        "cpu_us_per_request": round(cpu_s / offered * 1e6, 1) if offered else None,
        "busiest_loop": round(max(shares, default=0.0), 3),
    }


def _problems(generator: dict[str, Any]) -> list[str]:
    found = []
    lag_ms = generator["lag_ms"]["p99"]
    if lag_ms is not None and lag_ms > MAX_LAG_P99_MS:
        found.append(f"the generator was late: p99 of its own lag is {lag_ms:.0f} ms; give it --processes or a core")
    if generator["busiest_loop"] > MAX_LOOP_SHARE:
        found.append(f"the generator was saturated: {generator['busiest_loop']:.0%} of a core; give it --processes")
    return found


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
