"""4: does the mesh come back by itself when a trigger has passed, whatever its clients do?

Clients are naive: a request has 2 s, an attempt half a second, and there are up to three more, whatever they are told.
Goodput is the share of what is offered in a second that is answered in time, so that the arrivals' own noise is no
part of it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.overload.cast import Cast, four_devices
from benchmarks.overload.check import at_most, holds
from benchmarks.overload.fault import freeze_half, kill_half, throttle_router, throttle_workers
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.reading import kept, windows
from benchmarks.overload.scene import Scene
from benchmarks.overload.stage import Stage
from sluice.load.rate import Rate, Spike
from sluice.load.retry import RetryLaw
from sluice.plot.series import Results

TITLE = "the way back from a trigger, with naive clients"
EXPECTED = 500.0
SPIKE = "spike 3x"
FAULTS: dict[str, Callable[[Scene, float], Awaitable[None]]] = {
    "quota -80 %": throttle_workers,
    "router's quota -80 %": throttle_router,
    "half killed": kill_half,
    "half frozen": freeze_half,
}
DURATIONS_S, BACKGROUNDS = (1.0, 5.0, 30.0), (0.6, 0.8, 0.95)
CONTROL = (5.0, 0.95)
WITHIN_S, SHARE, IN_A_ROW = 5.0, 0.99, 3
RETRY = RetryLaw(retries=3, backoff_s=0.05, respect=False)


class Cell(NamedTuple):
    """A trigger, how long it lasts, and how much of the capacity is offered all the time."""

    trigger: str
    duration_s: float
    background: float

    def __str__(self) -> str:
        return f"{self.trigger} for {self.duration_s:g} s at {self.background:.0%}"


class Watch(NamedTuple):
    """How long a cell is watched before its trigger and after it."""

    before_s: float
    after_s: float


async def run(stage: Stage) -> Outcome:
    """Every cell with the mechanism on; the control in those in which it is most likely to stick."""
    cast = four_devices(EXPECTED)
    capacity = await stage.capacity(cast, EXPECTED)
    cells = [Cell(*one) for one in itertools.product((SPIKE, *FAULTS), DURATIONS_S, BACKGROUNDS)]
    controls = [cell for cell in cells if cell[1:] == CONTROL]
    watch = Watch(8.0, 15.0)
    if stage.quick:
        cells = controls = [Cell(SPIKE, 3.0, 0.8)]
        watch = Watch(3.0, 6.0)
    outcome = Outcome(title=TITLE, cast=cast.described(), figures={"capacity": capacity})
    recovery: dict[str, dict[str, float | None]] = {"on": {}, "off": {}}
    for name, wanted in (("on", cells), ("off", controls)):
        for cell in wanted:
            stage.say(f"{name}: {cell}")
            results, ended_s = await _play(stage, cast.with_mechanism(name == "on"), capacity, cell, watch)
            recovery[name][str(cell)] = recovered_s(results, ended_s, watch.before_s)
            if cell in controls:
                outcome.pictures.setdefault(f"cell-{controls.index(cell) + 1}", []).append((name, results))
    outcome.figures["recovery_s"] = recovery
    outcome.checks = [at_most(f"{cell}, s", seconds, WITHIN_S) for cell, seconds in recovery["on"].items()]
    outcome.checks += [
        holds("the control sticks somewhere", None in recovery["off"].values(), direction=False),
        holds("no cell sticks", None not in recovery["on"].values()),
    ]
    return outcome


def recovered_s(results: Results, ended_s: float, before_s: float) -> float | None:
    """Seconds from the trigger's end to the first of three windows in a row with 99 % of the goodput before it.

    None if there are none: it has stuck.
    """
    plan = results["plan"]
    bound, window_s = SHARE * kept(windows(results, before_s / 2, before_s)), float(plan["window_s"])
    in_a_row = 0
    for row in windows(results, ended_s - window_s, plan["duration_s"]):
        in_a_row = in_a_row + 1 if kept([row]) >= bound else 0
        if in_a_row == IN_A_ROW:
            return max(0.0, float(row["at_s"]) - (IN_A_ROW - 1) * window_s - ended_s)
    return None


async def _play(stage: Stage, cast: Cast, capacity: float, cell: Cell, watch: Watch) -> tuple[Results, float]:
    """The results of one cell, and the instant at which its trigger had ended."""
    rate = Rate(((0.0, capacity * cell.background),))
    ended_s = watch.before_s + cell.duration_s
    if cell.trigger == SPIKE:
        rate = rate.with_spikes([Spike(factor=3.0, at_s=watch.before_s, length_s=cell.duration_s)])
    async with stage.scene(cast) as scene:

        async def act(begin_at: float) -> None:
            nonlocal ended_s
            if cell.trigger in FAULTS:
                await asyncio.sleep(begin_at + watch.before_s - time.monotonic())
                await FAULTS[cell.trigger](scene, cell.duration_s)
                ended_s = time.monotonic() - begin_at

        duration_s = watch.before_s + cell.duration_s + watch.after_s
        client = {"deadline_s": 2.0, "attempt_s": 0.5, "retry": RETRY}
        return await stage.offer(scene, rate, duration_s, script=act, **client), ended_s
