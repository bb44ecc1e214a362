"""Level 1: a share of the cold work leaves the accelerators for the CPU workers.

It takes its own trigger away: what has left is no longer seen in the utilisation. So it goes only when the utilisation
*predicted* with that work added back is low. How much leaves is a controller's choice, by utilisation and queue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.control.degradation.hysteresis import OPEN, UNMET, HoldTimer, SustainedCondition, smoothed
from sluice.control.degradation.signals import Signals, exceeds_entry_share, is_long, is_short
from sluice.control.degradation.thresholds import Thresholds

FIRST_SHARE = 0.3
LEAST_SHARE = 0.1
MOST_SHARE = 0.9
RISE_PER_S = 0.5
FALL_PER_S = 0.1
# The controller aims at a utilisation between the two thresholds, this far inside.
BAND = 0.05
# Above the first no more work is sent to the CPU workers, above the second some is taken back.
CPU_FULL = 0.85
CPU_OVERFULL = 0.95
BUSY_TIME_CONSTANT_S = 0.15
PREDICTED_TIME_CONSTANT_S = 2.0


@dataclass(frozen=True, slots=True)
class Offload:
    """The law's memory."""

    latch: HoldTimer = OPEN
    share: float = FIRST_SHARE
    busy: float | None = None
    predicted: float | None = None
    is_busy: SustainedCondition = UNMET
    is_late: SustainedCondition = UNMET
    is_clear: SustainedCondition = UNMET

    def step(self, signals: Signals, now: float, elapsed_s: float, limits: Thresholds) -> tuple[Offload, str]:
        """After one more reading; why the level came, or an empty string."""
        busy = smoothed(self.busy, signals.utilization, elapsed_s=elapsed_s, time_constant_s=BUSY_TIME_CONSTANT_S)
        predicted = smoothed(
            self.predicted, _predict(self, signals), elapsed_s=elapsed_s, time_constant_s=PREDICTED_TIME_CONSTANT_S
        )
        law = replace(
            self,
            busy=busy,
            predicted=predicted,
            is_busy=self.is_busy.step(busy is not None and busy > limits.utilization_enter, now),
            is_late=self.is_late.step(_is_late(signals, busy, limits), now),
        )
        if self.latch.on:
            law = replace(law, share=_next_share(law, signals, elapsed_s, limits))
        law = replace(law, is_clear=self.is_clear.step(_looks_clear(law, signals, limits), now))
        why = _why_enter(law, signals, now, limits)
        if not why:
            return law, ""
        latch = self.latch.close(now, hold_s=limits.offload_hold_s)
        if self.latch.on:
            return replace(law, latch=latch), ""
        return replace(law, latch=latch, share=FIRST_SHARE, is_clear=UNMET), why

    def may_go(self, now: float, limits: Thresholds) -> bool:
        """Whether the level has stayed long enough and is no longer needed."""
        return self.latch.may_open(now) and self.is_clear.lasts(limits.utilization_clear_s, now)

    def why_gone(self, limits: Thresholds) -> str:
        """What a log says when it goes."""
        if self.predicted is None:
            return f"the queue is short with a share of {self.share:.2f}"
        return f"predicted utilization {self.predicted:.2f} < {limits.utilization_exit:g}"


def _predict(law: Offload, signals: Signals) -> float | None:
    # Where nobody measures what was diverted, it is bounded: at most all that is left is cold work's other part.
    if signals.utilization is None or not law.latch.on:
        return signals.utilization
    if signals.offloaded_utilization is not None:
        return signals.utilization + signals.offloaded_utilization
    return signals.utilization / max(1.0 - law.share, 1.0 - MOST_SHARE)


def _looks_clear(law: Offload, signals: Signals, limits: Thresholds) -> bool:
    if law.predicted is not None:
        return law.predicted < limits.utilization_exit and not _is_late(signals, law.busy, limits)
    # A router on its own sees no utilisation: it gives back share by share, and the last one when no queue came.
    return signals.alone and law.share <= LEAST_SHARE and is_short(signals, limits)


def _why_enter(law: Offload, signals: Signals, now: float, limits: Thresholds) -> str:
    if law.is_busy.lasts(limits.utilization_for_s, now):
        return f"utilization {law.busy:.2f} > {limits.utilization_enter:g} for {limits.utilization_for_s:g} s"
    if law.is_late.lasts(limits.queue_for_s, now):
        return f"queue delay {signals.delay_s:.3f} s > {limits.queue_enter:g} of {signals.median_timeout_s:.3f} s"
    return ""


def _next_share(law: Offload, signals: Signals, elapsed_s: float, limits: Thresholds) -> float:
    # CPU workers of whom nobody tells have no room: a router on its own would push all cold work at them, for as long
    # as the queue that this makes is long.
    cpu = signals.cpu_utilization if signals.cpu_utilization is not None else CPU_OVERFULL
    change = 0.0
    if cpu > CPU_OVERFULL:
        change = -FALL_PER_S
    elif _wants_more(law, signals, limits):
        change = RISE_PER_S if cpu <= CPU_FULL else 0.0
    elif _wants_less(law, signals, limits):
        change = -FALL_PER_S
    # A greater share that was taken over goes down step by step too, and never up.
    return min(max(law.share, MOST_SHARE), max(LEAST_SHARE, law.share + change * elapsed_s))


def _wants_more(law: Offload, signals: Signals, limits: Thresholds) -> bool:
    if law.busy is not None and law.busy > limits.utilization_enter - BAND:
        return True
    return _may_be_busy(law.busy, limits) and is_long(signals, limits)


def _wants_less(law: Offload, signals: Signals, limits: Thresholds) -> bool:
    if law.busy is None:
        return signals.alone and is_short(signals, limits)
    return law.busy < limits.utilization_exit - BAND


def _may_be_busy(busy: float | None, limits: Thresholds) -> bool:
    return busy is None or busy > limits.utilization_exit - BAND


def _is_late(signals: Signals, busy: float | None, limits: Thresholds) -> bool:
    # A long queue before an accelerator that has room is the CPU workers' own, and more work would only lengthen it.
    return _may_be_busy(busy, limits) and exceeds_entry_share(signals, limits)
