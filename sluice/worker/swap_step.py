"""Level 2 at a worker, decided: which one thing to do next for a full model and its distilled copy. Pure.

It is decided by states and never by events: whatever has just happened, the next step leads from what is held to what
is wished. So a wish that changes in the middle of a swap, a load that fails and a worker that restarts need no rules.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from sluice.tier import Level


class Wish(Enum):
    """What shall serve."""

    FULL = "full"
    BOTH = "both"
    LIGHT = "light"


class Place(Enum):
    """Where a checkpoint is: on disk, in memory and warm, or serving."""

    DISK = 0
    MEMORY = 1
    SERVING = 2


class Step(Enum):
    """One move of one checkpoint. Releasing one that serves lets it finish its batches and texts first."""

    LOAD_FULL = "load full"
    SERVE_FULL = "serve full"
    RELEASE_FULL = "release full"
    LOAD_LIGHT = "load light"
    SERVE_LIGHT = "serve light"
    WITHDRAW_LIGHT = "withdraw light"
    RELEASE_LIGHT = "release light"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two checkpoints.

    `barred`: it could not be loaded a moment ago and is not tried again yet. `proven`: its last loading succeeded.
    """

    place: Place
    size_bytes: float
    barred: bool = False
    proven: bool = True

    @property
    def is_held(self) -> bool:
        """Whether it takes memory."""
        return self.place is not Place.DISK


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be taken of memory on top of all that is used now; negative: too much is; None: unknown.

    `keeps_light` says that the copy may stay in memory while the full model serves.
    """

    free_bytes: float | None
    keeps_light: bool

    def fits(self, size_bytes: float) -> bool:
        """Whether `size_bytes` more may be taken; nothing does while memory is unknown."""
        return self.free_bytes is not None and size_bytes <= self.free_bytes


def wish_of(levels: Collection[Level], lighten_share: float) -> Wish:
    """What the levels in force want: a share below 1 needs both, as the router splits the work between them."""
    if Level.LIGHTEN not in levels:
        return Wish.FULL
    return Wish.LIGHT if lighten_share >= 1.0 else Wish.BOTH


def next_step(wish: Wish, full: Side, light: Side, budget: Budget) -> Step | None:
    """The next step, or None when nothing can be bettered now.

    What takes over is in memory and serves before the other one goes, if both fit. If they do not, the other one goes
    first, and only for one that is proven: a bad copy must not cost a full model. Where nothing at all is held,
    loading is tried whatever the budget says. While lightened, a full model that was released is not loaded again.
    """
    if wish is not Wish.FULL and _is_out_of_reach(light, instead=full, budget=budget):
        wish = Wish.FULL
    elif wish is Wish.FULL and full.barred and not full.is_held:
        wish = Wish.LIGHT
    if wish is Wish.FULL:
        return _towards_full(full, light, budget)
    return _towards_light(wish, full, light, budget)


def _is_out_of_reach(light: Side, *, instead: Side, budget: Budget) -> bool:
    if light.is_held:
        return False
    if light.barred:
        return True
    return instead.is_held and not light.proven and not budget.fits(light.size_bytes)


def _towards_light(wish: Wish, full: Side, light: Side, budget: Budget) -> Step | None:
    if light.place is Place.DISK:
        if light.barred:
            return None
        if budget.fits(light.size_bytes) or not full.is_held:
            return Step.LOAD_LIGHT
        return Step.RELEASE_FULL
    if light.place is Place.MEMORY:
        return Step.SERVE_LIGHT
    if not full.is_held:
        return None
    if wish is Wish.BOTH and (budget.free_bytes is None or budget.free_bytes >= 0):
        return None if full.place is Place.SERVING else Step.SERVE_FULL
    return Step.RELEASE_FULL


def _towards_full(full: Side, light: Side, budget: Budget) -> Step | None:
    if full.place is Place.DISK:
        return _back_from_disk(full, light, budget)
    if full.place is Place.MEMORY:
        return Step.SERVE_FULL
    if light.is_held:
        if not budget.keeps_light:
            return Step.RELEASE_LIGHT
        return Step.WITHDRAW_LIGHT if light.place is Place.SERVING else None
    stages = budget.keeps_light and not light.barred and budget.fits(light.size_bytes)
    return Step.LOAD_LIGHT if stages else None


def _back_from_disk(full: Side, light: Side, budget: Budget) -> Step | None:
    if light.place is Place.MEMORY:
        return Step.SERVE_LIGHT
    if full.barred:
        return None
    if budget.fits(full.size_bytes) or not light.is_held:
        return Step.LOAD_FULL
    fits_alone = budget.free_bytes is None or full.size_bytes <= budget.free_bytes + light.size_bytes
    return Step.RELEASE_LIGHT if fits_alone and full.proven else None
