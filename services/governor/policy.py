"""What shall hold: the operator's override while it lasts, and beneath it what the laws of degradation decide.

The laws go on beneath an override and hold when it ends. They start from what the fleet was found obeying, so that a
governor that is started anew changes nothing by that; from there levels go as any others do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluice.control.degradation.laws import PolicyState, adopt, decide, disown
from sluice.control.degradation.level_state import DegradationState
from sluice.control.degradation.signals import Signals
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.control.directive import Directive


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An operator's hand, until an instant of the monotonic clock in seconds."""

    content: DegradationState
    until: float


class DegradationPolicy:
    """Keeps the directive in force, numbered (epoch, revision). Epochs only rise.

    Without `automatic` nothing is decided by signals: what was taken over holds until an operator clears it.
    """

    def __init__(
        self, *, epoch: int, lease_s: float, automatic: bool = True, thresholds: Thresholds = DEFAULT_THRESHOLDS
    ) -> None:
        self._current = Directive(epoch=epoch, revision=1, lease_s=lease_s, reason="start")
        self._law = PolicyState()
        self._automatic = automatic
        self._thresholds = thresholds
        self._override: Override | None = None

    @property
    def current(self) -> Directive:
        """The directive in force."""
        return self._current

    @property
    def override_until(self) -> float | None:
        """When the operator's override ends, if there is one."""
        return self._override.until if self._override else None

    def rise(self, epoch: int) -> None:
        """Go on under `epoch`, if that is greater than the present one."""
        if epoch > self._current.epoch:
            self._current = replace(self._current, epoch=epoch, revision=1)

    def inherit(self, held: DegradationState, *, now: float) -> None:
        """A member has `held` in force, by a governor before this one or by its own decision.

        Levels are united and the greater share holds, so that a restart never returns to full service by itself.
        """
        self._law = adopt(self._law, held, self._thresholds)
        self._publish(now, reason="inherited from the members")

    def override(self, directive: Directive, *, until: float, now: float) -> Directive:
        """Let the operator's `directive` hold until then (its version and lease are ignored)."""
        self._override = Override(content=directive.degradation, until=until)
        return self._publish(now, reason=directive.reason)

    def clear(self, *, now: float, reason: str) -> Directive:
        """End the operator's override, and what was inherited and no signal has confirmed: the operator has spoken."""
        self._override = None
        self._law = disown(self._law)
        return self._publish(now, reason=reason)

    def tick(self, signals: Signals, *, now: float) -> bool:
        """Decide by `signals`, and let an override end whose time is up; returns whether the directive changed."""
        before = self._current.version
        reason = None
        if self._automatic:
            decided_before = self._law.published
            self._law, decided = decide(signals, self._law, now, self._thresholds)
            reason = self._law.reason if decided.is_another_step_than(decided_before) else None
        if self._override is not None and now >= self._override.until:
            self._override = None
            if not self._automatic:
                self._law = disown(self._law)
            reason = "the operator's override expired"
        self._publish(now, reason=reason)
        return self._current.version != before

    def _publish(self, now: float, *, reason: str | None) -> Directive:
        held = self._override is not None and now < self._override.until
        content = (self._override.content if held and self._override else self._law.published).effective()
        if content != self._current.degradation:
            # A number that moves within a level has no reason of its own: the level's still is the reason.
            self._current = replace(
                self._current.saying(content),
                revision=self._current.revision + 1,
                reason=self._current.reason if reason is None else reason,
            )
        return self._current
