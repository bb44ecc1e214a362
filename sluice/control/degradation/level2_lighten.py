"""Level 2: full models are held in a lower precision, or distilled copies answer for them, and memory is released.

The first step is taken where it is foreseen to be enough, and has a while to prove it; the second one is the copies'.
Memory falls when the level comes, so it goes only when there would be room with the full models back. The copies' share
is all: as long as any work is left to a full model, none of its memory is released.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sluice.control.degradation.hysteresis import OPEN, ROUNDING_S, UNMET, HoldTimer, SustainedCondition
from sluice.control.degradation.signals import Signals
from sluice.control.degradation.thresholds import Thresholds
from sluice.domain.enums import Precision

SHARE = 1.0
LOWER_ONLY = 0.0


@dataclass(frozen=True, slots=True)
class Lighten:
    """The law's memory. A `share` between none and all, and a `precision`, are ones that were taken over.

    `stepped_at` is when the first step was taken, on the law's own clock.
    """

    latch: HoldTimer = OPEN
    share: float = SHARE
    precision: Precision = Precision.OWN
    stepped_at: float = -math.inf
    is_tight: SustainedCondition = UNMET
    is_clear: SustainedCondition = UNMET

    def step(self, signals: Signals, now: float, limits: Thresholds) -> tuple[Lighten, str]:
        """After one more reading; why the level came, or an empty string."""
        memory = signals.memory
        law = replace(
            self,
            is_tight=self.is_tight.step(memory is not None and memory >= limits.memory_enter, now),
            is_clear=self.is_clear.step(_looks_clear(signals, limits), now),
        )
        if not law.is_tight.lasts(limits.memory_for_s, now):
            return law, ""
        latch = self.latch.close(now, hold_s=limits.lighten_hold_s)
        why = f"memory {memory:.2f} >= {limits.memory_enter:g} for {limits.memory_for_s:g} s"
        if self.latch.on:
            return replace(law, latch=latch).go_on(now, limits, why)
        law = replace(law, latch=latch, precision=Precision.OWN, stepped_at=now, is_clear=UNMET)
        if _lower_precision_would_do(signals, limits):
            return replace(law, share=LOWER_ONLY), f"{why}; lower precisions free {signals.lowering_ratio:.2f}"
        return replace(law, share=SHARE), why

    def go_on(self, now: float, limits: Thresholds, why: str) -> tuple[Lighten, str]:
        """With the level in force and memory tight all the same: copies take over, if the first step had its time."""
        if self.share == LOWER_ONLY and now - self.stepped_at < limits.lower_for_s - ROUNDING_S:
            return self, ""
        return replace(self, share=SHARE), f"{why}, in lower precisions" if self.share == LOWER_ONLY else ""

    def may_go(self, now: float, limits: Thresholds) -> bool:
        """Whether the level has stayed long enough and is no longer needed."""
        return self.latch.may_open(now) and self.is_clear.lasts(limits.memory_clear_s, now)

    def why_gone(self, signals: Signals, limits: Thresholds) -> str:
        """What a log says when it goes."""
        return f"memory {signals.memory:.2f} + {signals.full_reload_ratio:.2f} to reload < {limits.memory_exit:g}"


def _lower_precision_would_do(signals: Signals, limits: Thresholds) -> bool:
    memory, freed = signals.memory, signals.lowering_ratio
    return memory is not None and freed > 0.0 and memory - freed < limits.memory_enter


def _looks_clear(signals: Signals, limits: Thresholds) -> bool:
    return signals.memory is not None and signals.memory + signals.full_reload_ratio < limits.memory_exit
