"""The governor's word, and a member's obedience to it: while one governor directs, only a newer word is applied.

What is in force is state that decisions read. When the governor falls silent the directive is kept, for its lease as
an order and after that as the point from which the member decides alone; silence is never full service. A member that
nobody directs obeys whichever governor it reaches: epochs order governors that live, and bind nobody to a dead one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from sluice.control.degradation.level_state import FULL_SERVICE, DegradationState
from sluice.control.epochs import is_of_the_past, is_plausible
from sluice.domain.enums import Level, Precision

DEFAULT_LEASE_S = 3.0
# How long a member that has decided alone keeps to that beside what the returned governor says. Its first reports
# arrive meanwhile, so a governor that was blind does not lower a level only because it did not know of the need.
HAND_BACK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What shall hold. `levels` is ascending and empty at full service; shares and scale lie in [0, 1]."""

    epoch: int
    revision: int
    levels: tuple[Level, ...] = ()
    offload_share: float = 0.0
    lighten_share: float = 0.0
    admit_scale: float = 1.0
    precision: Precision = Precision.OWN
    lease_s: float = DEFAULT_LEASE_S
    reason: str = ""

    @property
    def version(self) -> tuple[int, int]:
        """What directives are compared by."""
        return self.epoch, self.revision

    @property
    def degradation(self) -> DegradationState:
        """What it puts in force."""
        return DegradationState(
            levels=self.levels,
            offload_share=self.offload_share,
            lighten_share=self.lighten_share,
            admit_scale=self.admit_scale,
            precision=self.precision,
        )

    def saying(self, content: DegradationState) -> Directive:
        """The same directive with another content."""
        return replace(
            self,
            levels=content.levels,
            offload_share=content.offload_share,
            lighten_share=content.lighten_share,
            admit_scale=content.admit_scale,
            precision=content.precision,
        )


class Verdict(Enum):
    """What a member does with a directive."""

    APPLY = "it is newer"
    RENEW = "it is the one in force"
    STALE = "it is older than the one in force"
    IMPLAUSIBLE = "its epoch lies more than a day ahead of this member's clock, and another governor directs it"


def judge(directive: Directive, current: Directive | None, *, is_directed: bool, wall_s: float) -> Verdict:
    """What becomes of `directive` where `current` was applied last, and its lease still runs or not.

    `wall_s` is the member's wall clock, in seconds since 1970. An implausible epoch is less than any plausible one. One
    that is over may be followed by a governor of a lesser epoch, whose clock is wrong, but not by any of the past.
    """
    if current is None:
        return Verdict.APPLY
    if directive.version == current.version:
        return Verdict.RENEW
    if directive.epoch == current.epoch:
        return Verdict.APPLY if directive.revision > current.revision else Verdict.STALE
    if not is_directed and not is_of_the_past(directive.epoch, wall_s):
        return Verdict.APPLY
    known, new = is_plausible(current.epoch, wall_s), is_plausible(directive.epoch, wall_s)
    if known != new:
        return Verdict.APPLY if new else Verdict.IMPLAUSIBLE
    return Verdict.APPLY if directive.epoch > current.epoch else Verdict.STALE


class ActiveDirective:
    """What one member obeys. Times are instants of one monotonic clock, in seconds; `wall` is the wall clock.

    Decisions read `levels`, `offload_share`, `lighten_share`, `admit_scale` and `precision`; while its level is not in
    force a number is 0, 0 or 1, and the precision OWN. `stale` counts the directives that were refused.
    """

    __slots__ = (
        "_alone",
        "_alone_until",
        "_current",
        "_heard_at",
        "_wall",
        "admit_scale",
        "levels",
        "lighten_share",
        "offload_share",
        "precision",
        "stale",
    )

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._current: Directive | None = None
        self._heard_at = -math.inf
        self._alone: DegradationState | None = None
        self._alone_until = math.inf
        self.stale = 0
        self._put_in_force(FULL_SERVICE)

    @property
    def current(self) -> Directive | None:
        """The newest directive that was applied, whether or not its lease still runs."""
        return self._current

    @property
    def in_force(self) -> DegradationState:
        """What decisions are made by now."""
        return DegradationState(
            levels=self.levels,
            offload_share=self.offload_share,
            lighten_share=self.lighten_share,
            admit_scale=self.admit_scale,
            precision=self.precision,
        )

    @property
    def decides_alone(self) -> bool:
        """Whether what is in force is (also) this member's own decision."""
        return self._alone is not None

    @property
    def obeyed(self) -> Directive | None:
        """What is in force under the newest version that was applied; None if nobody ever said or decided anything."""
        if self._current is None:
            return None if self._alone is None else Directive(epoch=0, revision=0).saying(self.in_force)
        return self._current if self._alone is None else self._current.saying(self.in_force)

    def judge(self, directive: Directive, now: float) -> Verdict:
        """What `apply` would do with `directive`."""
        is_directed = not self.is_autonomous(now)
        return judge(directive, self._current, is_directed=is_directed, wall_s=self._wall())

    def is_plausible(self, directive: Directive) -> bool:
        """Whether its epoch can be a governor's, by this member's wall clock."""
        return is_plausible(directive.epoch, self._wall())

    def apply(self, directive: Directive, now: float) -> bool:
        """Obey `directive` if it is newer, and renew the lease if it is the current one; returns whether it is new."""
        verdict = self.judge(directive, now)
        if verdict in {Verdict.STALE, Verdict.IMPLAUSIBLE}:
            self.stale += 1
            return False
        self._heard_at = now
        if self._alone is not None and self._alone_until == math.inf:
            self._alone_until = now + HAND_BACK_S
        if verdict is Verdict.APPLY:
            self._current = directive
        self._show()
        return verdict is Verdict.APPLY

    def is_autonomous(self, now: float) -> bool:
        """Whether nobody directs this member: no directive has come, or the lease of the last one has run out."""
        return self._current is None or now - self._heard_at > self._current.lease_s

    def decide_alone(self, own: DegradationState) -> None:
        """Put the member's own decision in force, until a governor is heard again."""
        self._alone = own
        self._alone_until = math.inf
        self._put_in_force(own)

    def end_local(self, now: float) -> bool:
        """Drop the own decision if a governor has been heard for long enough; returns whether it was dropped now."""
        if self._alone is None or now < self._alone_until or self.is_autonomous(now):
            return False
        self._alone = None
        self._alone_until = math.inf
        self._show()
        return True

    def _show(self) -> None:
        said = self._current.degradation if self._current is not None else FULL_SERVICE
        self._put_in_force(said if self._alone is None else said.united(self._alone))

    def _put_in_force(self, content: DegradationState) -> None:
        effective = content.effective()
        self.levels: tuple[Level, ...] = effective.levels
        self.offload_share = effective.offload_share
        self.lighten_share = effective.lighten_share
        self.admit_scale = effective.admit_scale
        self.precision = effective.precision
