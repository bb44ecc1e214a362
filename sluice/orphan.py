"""A service that was started by another program ends with it, even when that program is killed outright."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping

PARENT_VARIABLE = "SLUICE_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def end_with_parent(environ: Mapping[str, str]) -> None:
    """If `environ` names a parent, be sent SIGTERM when it dies. Linux only; elsewhere nothing happens.

    Done by the child itself: work between fork and exec is not safe in a parent that has gRPC channels.
    """
    parent = environ.get(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        # It died before we asked.
        os.kill(os.getpid(), signal.SIGTERM)
