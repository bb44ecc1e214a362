"""6: what becomes of the work when the governor dies, freezes, is cut off, is doubled, or speaks of the past?

More is offered than the mesh can serve at full service, all the time, so a level is in force when it happens.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from benchmarks.overload.cast import Cast, four_devices
from benchmarks.overload.check import Check, at_least, at_most, holds
from benchmarks.overload.governor_fault import FAULTS, SILENT, Controlled, Fault
from benchmarks.overload.logbook import instants
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.reading import at_full_service, kept, windows
from benchmarks.overload.stage import Stage
from sluice.load.fleet_log import FleetLog
from sluice.plot.series import Results

TITLE = "the governor dies, freezes, is cut off, is doubled, is replayed"
CAPACITY, MULTIPLE = 500.0, 1.3
BEFORE_S, QUICK_BEFORE_S, AFTER_S = 12.0, 6.0, 10.0
FREEZE_S, FAULT_S, QUICK_FAULT_S = 60.0, 8.0, 4.5
QUICK_FAULTS = ("replay",)
ALONE, STALE = "no governor is heard: deciding alone", "a directive was refused"
# Answers that were on their way when the fault began still name what held before.
ON_THEIR_WAY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one fault. Instants are seconds of the run; `rows` are the fleet of who directs in the end."""

    name: str
    results: Results
    begun_s: float
    ended_s: float
    rows: list[Results]
    alone_s: list[float]
    stale: int
    members: int


async def run(stage: Stage) -> Outcome:
    """Every fault, each in a scene of its own."""
    cast = four_devices(CAPACITY)
    outcome = Outcome(title=TITLE, cast=cast.described())
    for name in QUICK_FAULTS if stage.quick else FAULTS:
        stage.say(name)
        fault, seen = await _play(stage, cast, name)
        outcome.checks += [*_checks(seen), *fault.checks]
        outcome.figures[name] = {"begun_s": seen.begun_s, "ended_s": seen.ended_s, "totals": seen.results["totals"]}
        outcome.pictures[name] = [("on", seen.results)]
    return outcome


def _checks(seen: Seen) -> list[Check]:
    name = seen.name
    before = at_full_service(windows(seen.results, seen.begun_s - 2.0, seen.begun_s))
    during = windows(seen.results, seen.begun_s + ON_THEIR_WAY_S, seen.ended_s)
    after = windows(seen.results, seen.begun_s, float("inf"))
    found = [
        holds(f"{name}: a level was in force before", before is not None and before < 0.5),
        at_most(f"{name}: answers at level 0 meanwhile, share", at_full_service(during), 0.0, direction=True),
        at_least(f"{name}: hot in time, from the fault on", kept(after, ("hot",)), 0.999),
        at_most(f"{name}: one state again after, s", _one_state_s(seen), 2.0),
    ]
    if name in SILENT:
        alone_s = min((at_s - seen.begun_s for at_s in seen.alone_s if at_s >= seen.begun_s), default=None)
        found.append(at_most(f"{name}: decides alone after, s", alone_s, 3.5))
    if name == "replay":
        found.append(holds("replay: the router refused stale directives", seen.stale > 0))
    return found


def _one_state_s(seen: Seen) -> float | None:
    """Seconds from the fault's end until all members are there and obey one directive."""
    united = [
        row["at_s"] - seen.ended_s
        for row in seen.rows
        if row["at_s"] >= seen.ended_s and row.get("members") == row.get("obeying") == seen.members
    ]
    return min(united, default=None)


async def _play(stage: Stage, cast: Cast, name: str) -> tuple[Fault, Seen]:
    before_s = QUICK_BEFORE_S if stage.quick else BEFORE_S
    fault_s = QUICK_FAULT_S if stage.quick else stage.long(FREEZE_S) if name == "freeze" else FAULT_S
    begun_s = ended_s = 0.0
    rows: list[Results] = []
    async with Controlled(stage, cast) as controlled:
        scene = controlled.scene
        fault = Fault(on=controlled, seconds=fault_s, governor=scene.governor)

        async def act(begin_at: float) -> None:
            nonlocal begun_s, ended_s
            await asyncio.sleep(begin_at + before_s - time.monotonic())
            begun_s = time.monotonic() - begin_at
            await FAULTS[name](fault)
            ended_s = time.monotonic() - begin_at
            log = asyncio.ensure_future(
                FleetLog(fault.governor, begin_at=begin_at, entries=rows, interval_s=0.05).run()
            )
            await asyncio.sleep(AFTER_S / 2)
            log.cancel()

        duration_s = before_s + fault_s + AFTER_S
        results = await stage.offer(scene, CAPACITY * MULTIPLE, duration_s, script=act, window_s=0.5)
        log = scene.processes["router"].log
        alone_s = [at - results["begun_at"] for at in instants(log, ALONE)]
        stale = len(instants(log, STALE))
    members = len(cast.devices) + 1
    seen = Seen(
        name=name,
        results=results,
        begun_s=begun_s,
        ended_s=ended_s,
        rows=rows,
        alone_s=alone_s,
        stale=stale,
        members=members,
    )
    return fault, seen
