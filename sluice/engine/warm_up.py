"""The batches that a backend runs before its first request, so that this one finds kernels and memory ready."""

from __future__ import annotations

from pathlib import Path

from sluice.domain.errors import SluiceError
from sluice.engine.checkpoint.errors import fault
from sluice.worker.execution.backend import Backend, Item

_TEXT = "warm up"
_SIZES = (1, 8)


def warm_up(backend: Backend, checkpoint: Path) -> None:
    """Run small batches. Raises InvalidRequest, field `checkpoint`, when the model cannot answer a plain text."""
    for size in _SIZES:
        for output in backend.execute([Item(_TEXT)] * size):
            if isinstance(output, SluiceError):
                raise fault(checkpoint, "", f"cannot answer so much as '{_TEXT}': {output.message}")
