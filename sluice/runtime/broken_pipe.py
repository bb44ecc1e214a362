"""Programs whose output goes to a reader that leaves early, such as `| head`: they end, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

READER_GONE = 1
"""The exit status of a program whose output nobody reads any more."""


def run_with_pipes(work: Callable[[], int]) -> int:
    """Run `work` and flush what it printed; returns its status, or READER_GONE if there is no reader any more.

    Python flushes a pipe's buffer only when it ends, where a broken pipe can no longer be caught.
    """
    try:
        try:
            return work()
        finally:
            _flush()
    except BrokenPipeError:
        _discard_output()
        return READER_GONE


def _flush() -> None:
    # None where the program was started with the descriptor closed.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _discard_output() -> None:
    # What is left in the buffers must have somewhere to go when Python ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            _ = stream is None or stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
