"""Calls that end while they are being answered: their deadline passes, or their caller goes, at that very moment.

gRPC then fails to send, and logs an error with a traceback for each, also where it sends for us what a handler
returned. The call has had its end by then and nobody is left to be told, so this is worth a line for debugging only.
"""

from __future__ import annotations

import logging

GRPC_LOGGER = "grpc._cython.cygrpc"
# What gRPC says when the call is over; a batch of operations that it does not even begin is worded otherwise.
_SENT_TOO_LATE = 'Failed "execute_batch"'


class EndedCalls(logging.Filter):
    """Drops gRPC's records of answers that came too late. Everything else passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be logged as it is."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or not str(error).startswith(_SENT_TOO_LATE):
            return True
        logging.getLogger(__name__).debug("a call ended before its answer was sent")
        return False


_FILTER = EndedCalls()


def quieten() -> None:
    """Have gRPC's servers of this process log no errors about calls that have ended. Doing it twice changes nothing."""
    logging.getLogger(GRPC_LOGGER).addFilter(_FILTER)
