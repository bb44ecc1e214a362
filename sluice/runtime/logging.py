"""Logs: one JSON object a line on standard error, with the ids of the trace that was current."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from opentelemetry import trace

# Log lines that a peer can cause: at most one in an interval for each kind, with the number of those left out.


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


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record with its `extra` fields. `service` is the program's name."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; a value that JSON cannot hold is written as its text."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
            line["span_id"] = f"{context.span_id:016x}"
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, ensure_ascii=False, allow_nan=False, default=str)
        except (TypeError, ValueError):
            plain = {key: value if isinstance(value, str | int) else str(value) for key, value in line.items()}
            return json.dumps(plain, ensure_ascii=False)


def configure(service: str, level: str) -> None:
    """Send everything that the process logs to standard error as JSON. Called once, by `__main__`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
