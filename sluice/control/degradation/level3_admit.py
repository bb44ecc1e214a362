"""Level 3: the admission limit is lowered, when the levels before it were not enough.

The router's own limiter is always on and the quick one; this law only moves the point that it steers to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.control.degradation.hysteresis import OPEN, UNMET, HoldTimer, SustainedCondition
from sluice.control.degradation.signals import Signals, is_short, queue_is_standing, will_miss_deadlines
from sluice.control.degradation.thresholds import Thresholds

FIRST_SCALE = 0.8
LEAST_SCALE = 0.3
# Lowered by this part of itself in a second while the queue stands, raised by that much while it is short.
FALL_PER_S = 0.4
RISE_PER_S = 0.05
MEMORY_FOR_S = 0.3
MEMORY_BAND = 0.05
# A thousandth: one client beyond its share is no overload.
REFUSED_CLEAR = 0.001


@dataclass(frozen=True, slots=True)
class Admit:
    """The law's memory."""

    latch: HoldTimer = OPEN
    scale: float = FIRST_SCALE
    is_overload: SustainedCondition = UNMET
    is_far: SustainedCondition = UNMET
    is_full: SustainedCondition = UNMET
    is_clear: SustainedCondition = UNMET

    def step(
        self, signals: Signals, now: float, elapsed_s: float, limits: Thresholds, *, is_reduced: bool
    ) -> tuple[Admit, str]:
        """After one more reading, with level 1 or 2 in force or not; why the level came, or an empty string."""
        memory = signals.memory_anywhere
        law = replace(
            self,
            is_overload=self.is_overload.step(is_reduced and _is_overload(signals, limits), now),
            is_far=self.is_far.step(will_miss_deadlines(signals, limits), now),
            is_full=self.is_full.step(memory is not None and memory >= limits.memory_full, now),
            is_clear=self.is_clear.step(_looks_clear(signals, limits), now),
        )
        if self.latch.on:
            law = replace(law, scale=_next_scale(self.scale, signals, elapsed_s, limits))
        why = _why_enter(law, signals, now, limits)
        if not why:
            return law, ""
        latch = self.latch.close(now, hold_s=limits.admit_hold_s)
        if self.latch.on:
            return replace(law, latch=latch), ""
        return replace(law, latch=latch, scale=FIRST_SCALE, is_clear=UNMET), why

    def may_go(self, now: float, limits: Thresholds) -> bool:
        """Whether the level has stayed long enough and is no longer needed."""
        return self.latch.may_open(now) and self.is_clear.lasts(limits.admit_clear_s, now)

    def why_gone(self, limits: Thresholds) -> str:
        """What a log says when it goes."""
        return f"nothing refused and the queue short for {limits.admit_clear_s:g} s"


def _why_enter(law: Admit, signals: Signals, now: float, limits: Thresholds) -> str:
    if law.is_full.lasts(MEMORY_FOR_S, now):
        return f"memory {signals.memory_anywhere:.2f} >= {limits.memory_full:g}"
    if law.is_far.lasts(limits.queue_far_for_s, now):
        standing_s, median_s = signals.standing_queue_delay_s, signals.median_timeout_s
        return f"standing queue {standing_s:.3f} s > {limits.queue_far:g} of {median_s:.3f} s"
    if law.is_overload.lasts(limits.overload_for_s, now):
        return f"overload goes on for {limits.overload_for_s:g} s under the levels before"
    return ""


def _next_scale(before: float, signals: Signals, elapsed_s: float, limits: Thresholds) -> float:
    scale = before
    if queue_is_standing(signals, limits):
        scale *= max(0.0, 1.0 - FALL_PER_S * elapsed_s)
    elif is_short(signals, limits):
        scale += RISE_PER_S * elapsed_s
    # A lower scale that was taken over is raised step by step too.
    return max(min(before, LEAST_SCALE), min(1.0, scale))


def _is_overload(signals: Signals, limits: Thresholds) -> bool:
    lost = (signals.deadline_miss_ratio, signals.refused_ratio)
    return queue_is_standing(signals, limits) or any(one is not None and one > limits.overload_share for one in lost)


def _looks_clear(signals: Signals, limits: Thresholds) -> bool:
    memory, refused = signals.memory_anywhere, signals.refused_ratio
    has_room = signals.alone if memory is None else memory < limits.memory_full - MEMORY_BAND
    nothing_refused = refused is not None and refused <= REFUSED_CLEAR
    return has_room and nothing_refused and is_short(signals, limits)
