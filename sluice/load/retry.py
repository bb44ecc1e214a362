"""What a client tries again, and when: as the mesh asks it to, or naively."""

from __future__ import annotations

from dataclasses import dataclass

RETRYABLE = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"})
REFUSED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How one attempt failed: a gRPC code by name, the mesh's reason, and when it wants to see us again.

    `retry_after_s` is None where the mesh named no time; with RESOURCE_EXHAUSTED that says: do not come back.
    """

    code: str
    reason: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLaw:
    """Up to `retries` more attempts after `backoff_s`, doubled each time and drawn from 0 to that (full jitter).

    With `respect`, a refusal's own time stands in place of the backoff, and none is not tried again.
    """

    retries: int = 0
    backoff_s: float = 0.05
    respect: bool = True

    def wait_s(self, failure: Failure, *, attempts: int, dice: float) -> float | None:
        """Seconds until the next attempt, after `attempts` of them; None: there is none. `dice` lies in [0, 1)."""
        if attempts > self.retries or failure.code not in RETRYABLE:
            return None
        if self.respect and failure.code == REFUSED:
            return failure.retry_after_s
        return self.backoff_s * 2.0 ** (attempts - 1) * dice
