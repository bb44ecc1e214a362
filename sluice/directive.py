"""The governor's word, and a member's obedience to it: only newer directives are applied, and none is forgotten.

The newest applied directive is state that decisions read. When the governor falls silent the directive is kept, for
its lease as an order and after that as the point from which the member decides alone; silence is never full service.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice.tier import Level

DEFAULT_LEASE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What shall hold. `levels` is ascending and empty at full service; shares and scale lie in [0, 1]."""

    epoch: int
    revision: int
    levels: tuple[Level, ...] = ()
    offload_share: float = 0.0
    lighten_share: float = 0.0
    admit_scale: float = 1.0
    lease_s: float = DEFAULT_LEASE_S
    reason: str = ""

    @property
    def version(self) -> tuple[int, int]:
        """What directives are compared by."""
        return self.epoch, self.revision


class DirectiveState:
    """What one member obeys. Times are instants of one monotonic clock, in seconds."""

    __slots__ = ("_current", "_heard_at", "levels")

    def __init__(self) -> None:
        self._current: Directive | None = None
        self._heard_at = float("-inf")
        self.levels: tuple[Level, ...] = ()

    @property
    def current(self) -> Directive | None:
        """The newest directive that was applied, whether or not its lease still runs."""
        return self._current

    def apply(self, directive: Directive, now: float) -> bool:
        """Obey `directive` if it is newer, and renew the lease if it is the current one; returns whether it is new."""
        if self._current is not None:
            if directive.version < self._current.version:
                return False
            if directive.version == self._current.version:
                self._heard_at = now
                return False
        self._current = directive
        self._heard_at = now
        self.levels = directive.levels
        return True

    def is_autonomous(self, now: float) -> bool:
        """Whether nobody directs this member: no directive has come, or the lease of the last one has run out."""
        return self._current is None or now - self._heard_at > self._current.lease_s
