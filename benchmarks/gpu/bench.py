"""What all parts of one run share: the device, the size of what is measured, and the clock."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from rich.console import Console

from benchmarks.figure import Figure
from benchmarks.gpu.device import milliseconds, warm
from benchmarks.gpu.graph import Graph
from benchmarks.rounds import Rounds, measure_in_turn

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Bench:
    """One run on `device`. `smoke` asks for tiny shapes and one round, which say nothing but that a part runs.

    `graphs` says whether steps are captured as graphs; without, Python launches every operation of those, too.
    """

    device: torch.device
    smoke: bool = False
    graphs: bool = True
    console: Console = field(default_factory=partial(Console, stderr=True, quiet=True))
    begun_at: float = field(default_factory=time.monotonic)

    @property
    def rounds(self) -> int:
        """How often each of several things is measured, in turn."""
        return 1 if self.smoke else ROUNDS

    def tell(self, stage: str) -> None:
        """Say on the terminal what is being done, and since when the run goes on."""
        self.console.print(f"{time.monotonic() - self.begun_at:6.1f} s  {stage}", markup=False)

    def captured(self, step: Callable[[], object]) -> Callable[[], object]:
        """`step`, warm and as one graph; each call takes it once."""
        return Graph(step, self.device) if self.graphs else warm(step, self.device)

    def release(self) -> None:
        """Give back to the device what nobody uses any more."""
        gc.collect()
        if self.device.type != "cpu":
            torch.accelerator.empty_cache()

    def time_in_turn(self, steps: Mapping[str, Callable[[], object]], *, repeats: int) -> Rounds:
        """Milliseconds of one of so many `repeats` of each step, by the device's own clock.

        Steps are warm already. Every second round runs backwards.
        """
        times = 1 if self.smoke else repeats
        legs = {name: partial(milliseconds, step, self.device, repeats=times) for name, step in steps.items()}
        return measure_in_turn(legs, rounds=self.rounds)


Part = Callable[[Bench], list[Figure]]
"""Measures what one line of the targets speaks of, which may take several figures."""
