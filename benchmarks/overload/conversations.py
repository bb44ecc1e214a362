"""5: how many conversations are lost at the peak? One is when any of its 5 to 10 turns fails at last."""

from __future__ import annotations

from benchmarks.overload.cast import four_devices
from benchmarks.overload.check import at_least, at_most, holds
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.reading import lost
from benchmarks.overload.stage import Stage
from sluice.load.retry import RetryLaw

TITLE = "1,200 requests a second of conversations"
RATE, CAPACITY, FULL_SHARE = 1_200.0, 1_390.0, 0.23
TURNS, THINK_S = (5, 10), 0.5
SECONDS, QUICK_SECONDS = 120.0, 8.0
# In so short a run a load builds up that is lower than the whole one, and less of the full tier makes up for that.
QUICK_SCALE, QUICK_FULL_SHARE = 0.3, 0.12
RETRY = RetryLaw(retries=2, backoff_s=0.1)


async def run(stage: Stage) -> Outcome:
    """The same conversations with the mechanism on, and off."""
    scale = QUICK_SCALE if stage.quick else 1.0
    seconds = QUICK_SECONDS if stage.quick else stage.long(SECONDS)
    cast = four_devices(CAPACITY * scale, full_share=QUICK_FULL_SHARE if stage.quick else FULL_SHARE)
    outcome = Outcome(title=TITLE, cast=cast.described())
    runs = {}
    for name in ("on", "off"):
        async with stage.scene(cast.with_mechanism(name == "on")) as scene:
            runs[name] = await stage.offer(
                scene, RATE * scale, seconds, turns=TURNS, think_s=THINK_S, deadline_s=2.0, attempt_s=1.0, retry=RETRY
            )
    on, off = lost(runs["on"]), lost(runs["off"])
    outcome.checks = [
        at_most("lost", on["all"], 0.02),
        at_most("hot lost", on["hot"], 0.005),
        at_least("lost by the control", off["all"], 0.20),
        holds("the control loses more", (off["all"] or 0.0) > (on["all"] or 0.0)),
    ]
    outcome.figures = {name: {"lost": lost(one), "conversations": one["conversations"]} for name, one in runs.items()}
    outcome.pictures = {"": list(runs.items())}
    return outcome
