"""2: how much is still served when far more is offered than can be?"""

from __future__ import annotations

from typing import Any

from benchmarks.overload.cast import Cast, four_devices
from benchmarks.overload.check import Check, at_least, at_most, holds
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.reading import goodput, kept, windows
from benchmarks.overload.stage import Stage
from sluice.plot.series import Results

TITLE = "0.5 to 5 times the measured capacity"
EXPECTED = 900.0
MULTIPLES, QUICK_MULTIPLES = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0), (0.8, 3.0)
STEP_S, QUICK_STEP_S = 20.0, 5.0
SETTLED = 0.25
HOT = 0.2
# While hot work alone is less than this share of the capacity, it must not notice the rest.
HOT_ROOM = 0.9
Points = dict[float, dict[str, Any]]


async def run(stage: Stage) -> Outcome:
    """The sweep with the mechanism on, and off."""
    cast = four_devices(EXPECTED)
    capacity = await stage.capacity(cast, EXPECTED)
    on, on_run = await _sweep(stage, cast, capacity)
    off, off_run = await _sweep(stage, cast.with_mechanism(False), capacity)
    worst = max(on)
    outcome = Outcome(title=TITLE, cast=cast.described(), checks=_checks(on))
    outcome.checks.append(holds(f"{worst:g}x: the control is lower", off[worst]["goodput"] < on[worst]["goodput"]))
    outcome.figures = {"capacity": capacity, "on": on, "off": off}
    outcome.pictures = {f"{worst:g}x": [("on", on_run), ("off", off_run)]}
    return outcome


def _checks(points: Points) -> list[Check]:
    peak = max(point["goodput"] for point in points.values()) or float("inf")
    found = []
    for multiple, point in points.items():
        if multiple >= 2:
            bound = 0.95 if multiple == 2 else 0.90
            found.append(at_least(f"{multiple:g}x: goodput of the peak", point["goodput"] / peak, bound))
            found.append(at_most(f"{multiple:g}x: refusal p99, ms", point["refusal_p99_ms"], 10.0))
        if multiple * HOT <= HOT_ROOM:
            found.append(at_least(f"{multiple:g}x: hot in time", point["hot"], 0.999))
    return found


async def _sweep(stage: Stage, cast: Cast, capacity: float) -> tuple[Points, Results]:
    """Goodput, hot availability and how soon refusals come, by the multiple that is offered; and the last run."""
    step_s = QUICK_STEP_S if stage.quick else stage.long(STEP_S)
    points: Points = {}
    async with stage.scene(cast) as scene:
        for multiple in QUICK_MULTIPLES if stage.quick else MULTIPLES:
            results = await stage.offer(scene, capacity * multiple, step_s, connections=2, hot=HOT)
            points[multiple] = {
                "offered": results["totals"]["all"]["offered"] / step_s,
                "goodput": goodput(results, step_s * SETTLED, step_s),
                "hot": kept(windows(results, step_s * SETTLED, step_s), ("hot",)),
                "refusal_p99_ms": results["refusal_ms"]["p99"],
                "latency_ms": results["totals"]["all"]["latency_ms"],
                "levels": results["levels"],
                "valid": results["valid"],
            }
    return points, results
