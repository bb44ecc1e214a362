"""What shall hold: the operator's override while it lasts, and beneath it what the fleet was found obeying.

The control laws of the three levels take their place between those two; each is a pure function of signals and time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.directive import Directive
from sluice.tier import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An operator's hand, until an instant of the monotonic clock in seconds."""

    directive: Directive
    until: float


class Controller:
    """Keeps the directive in force, numbered (epoch, revision). Epochs only rise."""

    def __init__(self, *, epoch: int, lease_s: float) -> None:
        self._current = Directive(epoch=epoch, revision=1, lease_s=lease_s, reason="start")
        self._inherited = self._current
        self._override: Override | None = None
        self._inherits = True

    @property
    def current(self) -> Directive:
        """The directive in force."""
        return self._current

    @property
    def override_until(self) -> float | None:
        """When the operator's override ends, if there is one."""
        return self._override.until if self._override else None

    def learn(self, obeyed: Directive, *, now: float) -> None:
        """A member that joins obeys `obeyed`.

        What it was told by a governor before this one is kept: levels are united and the greater share holds, so that
        a restart never returns to full service by itself. The own epoch passes every other.
        """
        mine = self._current
        if obeyed.epoch == mine.epoch:
            return
        if obeyed.epoch > mine.epoch:
            self._current = replace(mine, epoch=obeyed.epoch + 1, revision=1)
        if self._inherits:
            self._inherited = _union(self._inherited, obeyed)
        self._publish(now, reason="inherited from the members")

    def override(self, directive: Directive, *, until: float, now: float) -> Directive:
        """Let the operator's `directive` hold until then (its version and lease are ignored)."""
        self._override = Override(directive=directive, until=until)
        return self._publish(now, reason=directive.reason)

    def clear(self, *, now: float, reason: str) -> Directive:
        """End the operator's override; what members inherited is forgotten too, for good: the operator has spoken."""
        self._override = None
        self._inherits = False
        self._inherited = Directive(epoch=0, revision=0)
        return self._publish(now, reason=reason)

    def tick(self, *, now: float) -> bool:
        """Let an override end whose time is up; returns whether the directive changed."""
        if self._override is None or now < self._override.until:
            return False
        self.clear(now=now, reason="the operator's override expired")
        return True

    def _publish(self, now: float, *, reason: str) -> Directive:
        held = self._override is not None and now < self._override.until
        source = self._override.directive if held and self._override else self._inherited
        if _content(source) != _content(self._current):
            self._current = replace(
                self._current,
                revision=self._current.revision + 1,
                levels=source.levels,
                offload_share=source.offload_share,
                lighten_share=source.lighten_share,
                admit_scale=source.admit_scale,
                reason=reason,
            )
        return self._current


def _content(directive: Directive) -> tuple[object, ...]:
    return directive.levels, directive.offload_share, directive.lighten_share, directive.admit_scale


def _union(one: Directive, other: Directive) -> Directive:
    # A number means something only while its level is in force.
    def numbers(field: str, level: Level) -> list[float]:
        return [getattr(said, field) for said in (one, other) if level in said.levels]

    return replace(
        one,
        levels=tuple(sorted({*one.levels, *other.levels})),
        offload_share=max(numbers("offload_share", Level.OFFLOAD), default=0.0),
        lighten_share=max(numbers("lighten_share", Level.LIGHTEN), default=0.0),
        admit_scale=min(numbers("admit_scale", Level.ADMIT), default=1.0),
    )
