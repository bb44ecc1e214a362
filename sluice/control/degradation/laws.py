"""`decide`: from a reading and what was to what shall be. The governor runs it, and so does a member on its own.

The laws keep their own clock, which counts the time between two readings and never more than half a second of it. So
a clock that jumps, backwards or by hours, and a program that was stopped for a minute, have proven nothing by that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.control.degradation.hysteresis import ROUNDING_S, HoldTimer
from sluice.control.degradation.level1_offload import Offload
from sluice.control.degradation.level2_lighten import Lighten
from sluice.control.degradation.level3_admit import Admit
from sluice.control.degradation.level_state import FULL_SERVICE, DegradationState
from sluice.control.degradation.signals import Signals
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.domain.enums import Level

LONGEST_STEP_S = 0.5
# Members are told a number anew when it has moved so far, or when a level came or went.
PUBLISHED_STEP = 0.05
OFFLOAD, LIGHTEN, ADMIT = Offload(), Lighten(), Admit()


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the laws remember. `reason` is why the levels changed last, `published` what was decided last."""

    offload: Offload = OFFLOAD
    lighten: Lighten = LIGHTEN
    admit: Admit = ADMIT
    published: DegradationState = FULL_SERVICE
    reason: str = ""
    time_s: float = 0.0
    read_at: float | None = None
    released_at: float | None = None


def decide(
    signals: Signals, state: PolicyState, now: float, limits: Thresholds = DEFAULT_THRESHOLDS
) -> tuple[PolicyState, DegradationState]:
    """What shall hold after one more reading at `now`, an instant of any clock in seconds.

    Levels come as soon as their conditions have lasted, any number at a time. One goes in `release_every_s`, the
    highest first; none goes on what is unknown.
    """
    elapsed_s = 0.0 if state.read_at is None else min(max(0.0, now - state.read_at), LONGEST_STEP_S)
    time_s = state.time_s + elapsed_s
    offload, why_offload = state.offload.step(signals, time_s, elapsed_s, limits)
    lighten, why_lighten = state.lighten.step(signals, time_s, limits)
    is_reduced = offload.latch.on or lighten.latch.on
    admit, why_admit = state.admit.step(signals, time_s, elapsed_s, limits, is_reduced=is_reduced)
    state = replace(state, offload=offload, lighten=lighten, admit=admit, time_s=time_s, read_at=now)
    why = [one for one in (why_offload, why_lighten, why_admit) if one]
    if not why:
        state, why = _released(state, signals, limits)
    if why:
        state = replace(state, reason="; ".join(why))
    state = replace(state, published=_published(state))
    return state, state.published


def adopt(
    state: PolicyState, held: DegradationState, limits: Thresholds = DEFAULT_THRESHOLDS, *, reason: str = ""
) -> PolicyState:
    """With the levels of `held` in force too, as if they had just come: they go by the laws and not before."""
    now, held = state.time_s, held.effective()
    before = _content(state).effective()
    both = before.united(held)
    offload, lighten, admit = state.offload, state.lighten, state.admit
    if Level.OFFLOAD in held.levels:
        latch = offload.latch.close(now, hold_s=limits.offload_hold_s, inherited=True)
        offload = replace(offload, latch=latch, share=both.offload_share)
    if Level.LIGHTEN in held.levels:
        latch = lighten.latch.close(now, hold_s=limits.lighten_hold_s, inherited=True)
        lighten = replace(lighten, latch=latch, share=both.lighten_share, precision=both.precision, stepped_at=now)
    if Level.ADMIT in held.levels:
        latch = admit.latch.close(now, hold_s=limits.admit_hold_s, inherited=True)
        admit = replace(admit, latch=latch, scale=both.admit_scale)
    changed = replace(state, offload=offload, lighten=lighten, admit=admit)
    return replace(changed, published=both, reason=reason if both.levels != before.levels else state.reason)


def disown(state: PolicyState) -> PolicyState:
    """Without the levels that were only taken over and that no signal has confirmed."""
    now = state.time_s
    changed = replace(
        state,
        offload=replace(state.offload, latch=_disowned(state.offload.latch, now)),
        lighten=replace(state.lighten, latch=_disowned(state.lighten.latch, now)),
        admit=replace(state.admit, latch=_disowned(state.admit.latch, now)),
    )
    return replace(changed, published=_content(changed))


def _disowned(latch: HoldTimer, now: float) -> HoldTimer:
    return latch.open(now) if latch.on and latch.inherited else latch


def _released(state: PolicyState, signals: Signals, limits: Thresholds) -> tuple[PolicyState, list[str]]:
    now = state.time_s
    if state.released_at is not None and now - state.released_at < limits.release_every_s - ROUNDING_S:
        return state, []
    if state.admit.may_go(now, limits):
        admit = replace(state.admit, latch=state.admit.latch.open(now))
        return replace(state, admit=admit, released_at=now), [state.admit.why_gone(limits)]
    if state.lighten.may_go(now, limits):
        lighten = replace(state.lighten, latch=state.lighten.latch.open(now))
        return replace(state, lighten=lighten, released_at=now), [state.lighten.why_gone(signals, limits)]
    if state.offload.may_go(now, limits):
        offload = replace(state.offload, latch=state.offload.latch.open(now))
        return replace(state, offload=offload, released_at=now), [state.offload.why_gone(limits)]
    return state, []


def _content(state: PolicyState) -> DegradationState:
    laws = (
        (Level.OFFLOAD, state.offload.latch),
        (Level.LIGHTEN, state.lighten.latch),
        (Level.ADMIT, state.admit.latch),
    )
    return DegradationState(
        levels=tuple(level for level, latch in laws if latch.on),
        offload_share=state.offload.share,
        lighten_share=state.lighten.share,
        admit_scale=state.admit.scale,
        precision=state.lighten.precision,
    ).effective()


def _published(state: PolicyState) -> DegradationState:
    new, old = _content(state), state.published
    numbers = ("offload_share", "lighten_share", "admit_scale")
    moved = any(abs(getattr(new, name) - getattr(old, name)) >= PUBLISHED_STEP - ROUNDING_S for name in numbers)
    return new if moved or new.is_another_step_than(old) else old
