"""When a service that died is started again, and when it is given up: exponential backoff over fast deaths.

As systemd's StartLimitBurst and Kubernetes' CrashLoopBackOff do it: what ran for a while is started again almost at
once; what dies again and again right after its start waits twice as long each time, and in the end is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STABLE_S = 10.0
"""A service that has been ready for so long has not died fast."""
MAX_FAST_DEATHS = 6
"""So many fast deaths in a row are the end: after some 16 seconds of backoff and the starts themselves."""


@dataclass(frozen=True)
class RestartHistory:
    """How often one service has died fast in a row."""

    fast_deaths: int = 0

    def after_death(self, *, ready_for_s: float | None) -> RestartHistory:
        """The history after one more death. `ready_for_s`: how long it had been ready; None if it never was."""
        stable = ready_for_s is not None and ready_for_s >= STABLE_S
        return replace(self, fast_deaths=0 if stable else self.fast_deaths + 1)

    @property
    def gives_up(self) -> bool:
        """Whether to leave the service alone."""
        return self.fast_deaths >= MAX_FAST_DEATHS

    @property
    def backoff_s(self) -> float:
        """How long to wait before it is started again."""
        return min(FIRST_BACKOFF_S * 2.0 ** max(0, self.fast_deaths - 1), MAX_BACKOFF_S)
