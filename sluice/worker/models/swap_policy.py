"""Level 2 at a worker, decided: which one thing to do next for a model that can be held in several ways. Pure.

It is decided by states and never by events: whatever has just happened, the next step leads from what is held to what
is wanted. So a wish that changes in the middle of a swap, a load that fails and a worker that restarts need no rules.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from sluice.domain.enums import Level, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """What the levels in force want of a worker.

    `copies` is the share of the work that distilled copies shall take. `lowers` says that full models shall be held in
    a lower precision where there is one; `precision`, unless it is OWN, in which.
    """

    copies: float = 0.0
    lowers: bool = False
    precision: Precision = Precision.OWN


FULL_SERVICE = DesiredState()


class Residency(Enum):
    """Where a rung is: on disk, in memory and warm, or serving."""

    DISK = 0
    MEMORY = 1
    SERVING = 2


class Action(Enum):
    """One move. Releasing what serves, or withdrawing it to memory, lets it finish its batches and texts first."""

    LOAD = "load"
    SERVE = "serve"
    WITHDRAW = "withdraw"
    RELEASE = "release"


class PlannedStep(NamedTuple):
    """A move of the rung at `rung`."""

    act: Action
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FormState:
    """One of the ways to hold a model: its own precision, a lower one, or its distilled copy.

    `stays`: it may stay in memory while another one serves. `barred`: it could not be loaded a moment ago and is not
    tried again yet. `proven`: its last loading succeeded.
    """

    place: Residency
    size_bytes: float
    stays: bool = False
    barred: bool = False
    proven: bool = True

    @property
    def is_held(self) -> bool:
        """Whether it takes memory."""
        return self.place is not Residency.DISK


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What may be taken of memory on top of all that is used now; negative: too much is; None: unknown."""

    free_bytes: float | None

    def fits(self, size_bytes: float) -> bool:
        """Whether `size_bytes` more may be taken; nothing does while memory is unknown."""
        return self.free_bytes is not None and size_bytes <= self.free_bytes

    @property
    def is_overdrawn(self) -> bool:
        """Whether more is used than may be."""
        return self.free_bytes is not None and self.free_bytes < 0


def desired_state_of(
    levels: Collection[Level], lighten_share: float, precision: Precision = Precision.OWN
) -> DesiredState:
    """What the levels in force want."""
    if Level.LIGHTEN not in levels:
        return FULL_SERVICE
    return DesiredState(copies=lighten_share, lowers=True, precision=precision)


def next_step(
    wanted: int, sides: Sequence[FormState], budget: MemoryBudget, *, beside: int | None = None
) -> PlannedStep | None:
    """The next step towards `wanted`, a place in `sides`, or None when nothing can be bettered now.

    What takes over is in memory and serves before the others go, if all fit. If they do not, the others go first, and
    only for one that is proven: a bad copy must not cost a good model. Where nothing at all is held, loading is tried
    whatever the budget says. What cannot be had leaves serving what serves, or else the first that can be had. `beside`
    may go on serving while there is memory for it, and is not loaded for that.
    """
    goal = _within_reach(wanted, sides, budget)
    if goal is None:
        return None
    if sides[goal].place is Residency.DISK:
        return _towards(goal, sides, budget)
    if sides[goal].place is Residency.MEMORY:
        return PlannedStep(Action.SERVE, goal)
    for rung in _held(sides, but=goal):
        step = _out_of_the_way(rung, sides[rung], may_serve=rung == beside and not budget.is_overdrawn)
        if step is not None:
            return step
    return _staged(sides, budget)


def _within_reach(wanted: int, sides: Sequence[FormState], budget: MemoryBudget) -> int | None:
    side = sides[wanted]
    risks = bool(_held(sides, but=wanted)) and not side.proven and not budget.fits(side.size_bytes)
    if side.is_held or not (side.barred or risks):
        return wanted
    ranked = sorted((rung for rung in range(len(sides)) if rung != wanted), key=lambda rung: -sides[rung].place.value)
    return next((rung for rung in ranked if sides[rung].is_held or not sides[rung].barred), None)


def _towards(goal: int, sides: Sequence[FormState], budget: MemoryBudget) -> PlannedStep | None:
    side, others = sides[goal], _held(sides, but=goal)
    if others and all(sides[rung].place is Residency.MEMORY for rung in others):
        return PlannedStep(Action.SERVE, others[0])
    if not others or budget.fits(side.size_bytes):
        return PlannedStep(Action.LOAD, goal)
    freed = sum(sides[rung].size_bytes for rung in others)
    helps = budget.free_bytes is None or side.size_bytes <= max(freed, budget.free_bytes + freed)
    if not side.proven or not helps:
        return None
    # What nobody would miss goes first.
    return PlannedStep(Action.RELEASE, min(others, key=lambda rung: sides[rung].place.value))


def _out_of_the_way(rung: int, side: FormState, *, may_serve: bool) -> PlannedStep | None:
    if may_serve:
        return None if side.place is Residency.SERVING else PlannedStep(Action.SERVE, rung)
    if not side.stays:
        return PlannedStep(Action.RELEASE, rung)
    return PlannedStep(Action.WITHDRAW, rung) if side.place is Residency.SERVING else None


def _staged(sides: Sequence[FormState], budget: MemoryBudget) -> PlannedStep | None:
    for rung, side in enumerate(sides):
        if side.stays and not side.is_held and not side.barred and budget.fits(side.size_bytes):
            return PlannedStep(Action.LOAD, rung)
    return None


def _held(sides: Sequence[FormState], *, but: int) -> list[int]:
    return [rung for rung, side in enumerate(sides) if side.is_held and rung != but]
