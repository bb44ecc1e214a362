"""Log lines that a peer can cause: at most one in an interval for each kind, with the number of those left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

INTERVAL_S = 10.0


class LimitedLog:
    """Writes to `logger`. A kind is a message; messages are constants, what varies goes into `extra`.

    The first line of a kind is written at once. Within `interval_s` of one that was written, the others of its kind
    are counted, and the next one that is written has their number as `left_out`.
    """

    def __init__(
        self, logger: logging.Logger, *, interval_s: float = INTERVAL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._clock = clock
        self._written_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, **extra: object) -> bool:
        """Log `message` as a warning, or count it; returns whether it was written."""
        return self._log(logging.WARNING, message, extra)

    def error(self, message: str, **extra: object) -> bool:
        """Log `message` as an error, or count it; returns whether it was written."""
        return self._log(logging.ERROR, message, extra)

    def _log(self, level: int, message: str, extra: dict[str, object]) -> bool:
        now = self._clock()
        if 0.0 <= now - self._written_at.get(message, float("-inf")) < self._interval_s:
            self._left_out[message] = self._left_out.get(message, 0) + 1
            return False
        self._written_at[message] = now
        left_out = self._left_out.pop(message, 0)
        self._logger.log(level, message, extra={**extra, **({"left_out": left_out} if left_out else {})})
        return True
