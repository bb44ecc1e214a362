"""1: is a peak of 4,500 requests a second survived, for ten minutes?

The accelerators are what is short: a third of the questions are complex and want the full tier, which has room for a
quarter of all. Together the devices have room for 5,200 a second.
"""

from __future__ import annotations

from benchmarks.overload.cast import four_devices
from benchmarks.overload.check import at_least, holds
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.reading import availability, lower_bound
from benchmarks.overload.stage import Stage

TITLE = "4,500 requests a second, Poisson and in bursts"
RATE, CAPACITY, FULL_SHARE = 4_500.0, 5_200.0, 0.23
SECONDS, CONTROL_S = 600.0, 120.0
QUICK_SCALE, QUICK_S = 0.1, 6.0
ARRIVALS = ("poisson", "gamma:3")


async def run(stage: Stage) -> Outcome:
    """Each kind of arrivals with the mechanism on, and a shorter run of each with it off."""
    scale = QUICK_SCALE if stage.quick else 1.0
    cast = four_devices(CAPACITY * scale, full_share=FULL_SHARE)
    outcome = Outcome(title=TITLE, cast=cast.described())
    for arrivals in ARRIVALS:
        runs = {}
        for name, duration_s in (("on", SECONDS), ("off", CONTROL_S)):
            async with stage.scene(cast.with_mechanism(name == "on")) as scene:
                seconds = QUICK_S if stage.quick else stage.long(duration_s)
                runs[name] = await stage.offer(scene, RATE * scale, seconds, arrivals=arrivals, connections=2)
        on, off = runs["on"], runs["off"]
        outcome.checks += [
            at_least(f"{arrivals}: in time, lower bound", lower_bound(on), 0.997),
            at_least(f"{arrivals}: hot in time", availability(on, "hot"), 0.9995),
            holds(f"{arrivals}: the control is lower", availability(off) < availability(on)),
        ]
        outcome.figures[arrivals] = {
            name: one["totals"] | {"generator": one["generator"]} for name, one in runs.items()
        }
        outcome.pictures[arrivals.replace(":", "-")] = list(runs.items())
    return outcome
