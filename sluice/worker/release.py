"""Freeing a model for real: what its memory was goes back to the device and to the operating system."""

from __future__ import annotations

import ctypes
import gc

from sluice.worker.execution.generation_runner import Servable


def release(servable: Servable) -> None:
    """Close `servable`, collect what only cycles hold, and let the C library give back the pages that are left empty.

    Without the last step a model that was converted while it was read (bf16 from fp32, say) leaves a fifth of itself
    behind in the allocator: never used again, and never anyone else's. What was frozen is frozen again, whether or not
    `servable` had to thaw it.
    """
    was_frozen = gc.get_freeze_count() > 0
    servable.close()
    gc.collect()
    if was_frozen:
        gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Only glibc has it.
    if trim is not None:
        trim(0)
