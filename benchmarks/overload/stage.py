"""What every experiment needs: a scene to play in, load to offer it, and how much it can bear."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.overload.cast import Cast, texts
from benchmarks.overload.scene import Scene
from sluice.load.plan import Plan
from sluice.load.rate import Rate, parse_rate
from sluice.load.result import result
from sluice.load.run import Recording, play
from sluice.plot.series import Results

# Twice what is expected for so long, of which the beginning does not count.
PUSH = 2.0
PUSH_S, SETTLING_S = 6.0, 2.0
PATIENCE_S = 10.0


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where experiments are played. `quick` asks for the short variant, which shows a direction and no figure.

    `scale` makes the full one's runs that much longer, or shorter. `problems` are those of the generator in runs that
    say little about the mesh.
    """

    logs: Path
    quick: bool = False
    scale: float = 1.0
    say: Callable[[str], object] = print
    problems: list[str] = field(default_factory=list, init=False)
    _scenes: int = field(default=0, init=False)

    def scene(self, cast: Cast, *, control: tuple[str, str] | None = None, only: Sequence[str] = ()) -> Scene:
        """A scene that is not started yet, with logs of its own."""
        self._scenes += 1
        logs = self.logs / f"{self._scenes:02}-{'on' if cast.mechanism else 'off'}"
        logs.mkdir(parents=True)
        return Scene(cast, logs=logs, control=control, only=only)

    def long(self, seconds: float) -> float:
        """A full run's length."""
        return seconds * self.scale

    async def offer(
        self,
        scene: Scene,
        rate: float | str | Rate,
        duration_s: float,
        *,
        script: Callable[[float], Awaitable[None]] | None = None,
        **changes: Any,
    ) -> Results:
        """Offer `rate` for `duration_s` and return the results. `changes` are further keys of the plan.

        `script` is run beside it, given the run's first instant on the monotonic clock.
        """
        steps = rate if isinstance(rate, Rate) else parse_rate(str(rate))
        plan = Plan(
            **{
                "router": scene.router,
                "rate": steps.steps,
                "duration_s": duration_s,
                "texts": texts(),
                "tick_s": 0.003,
                **changes,
            }
        )
        acting: list[asyncio.Task[None]] = []

        def begin(recording: Recording) -> None:
            if script is not None:
                acting.append(asyncio.ensure_future(script(recording.begin_at)))

        try:
            recording = await play(plan, governor=scene.governor, on_begin=begin)
            await asyncio.gather(*acting)
        finally:
            for task in acting:
                task.cancel()
        results = result(recording)
        self.say(_line(results))
        self.problems += results["problems"]
        return results

    async def capacity(self, cast: Cast, expected: float) -> float:
        """How many requests a second `cast` answers when it is offered more than it can: the median of whole seconds.

        Nobody is in a hurry meanwhile, so that this measures devices and not deadlines. The quick variant believes what
        is expected.
        """
        if self.quick:
            return expected
        async with self.scene(cast) as scene:
            results = await self.offer(scene, expected * PUSH, PUSH_S, deadline_s=PATIENCE_S)
        rates = [
            sum(row[pool]["ok"] + row[pool]["late"] for pool in ("hot", "cold"))
            for row in results["windows"]
            if SETTLING_S <= row["at_s"] < PUSH_S
        ]
        capacity = float(statistics.median(rates))
        self.say(f"capacity: {capacity:.0f} requests a second")
        return capacity


def _line(results: Results) -> str:
    everyone, hot, lag = (
        results["totals"]["all"],
        results["totals"]["hot"],
        results["generator"]["lag_ms"]["p99"],
    )
    rate = everyone["offered"] / results["plan"]["duration_s"]
    told = (
        f"offered {rate:.0f} a second: {everyone['availability'] or 0:.2%} in time, hot {hot['availability'] or 0:.2%}"
    )
    return told + ("" if results["valid"] else f"  NOT VALID, the generator was late (p99 {lag} ms)")
