"""The CPU worker as it would be without cutting: every batch is padded to its longest text, in arrival order.

`python -m benchmarks.cpu.padding_worker`, with the settings of `python -m services.cpu_worker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from unittest.mock import patch

from services.cpu_worker.__main__ import run
from sluice.engine.encoder import pipeline
from sluice.runtime.program import main
from sluice.worker.config import WorkerConfig


def whole(lengths: Sequence[int], *, overhead: int) -> list[list[int]]:
    """As `sluice.engine.encoder.pipeline.pack_by_length`, but all in one."""
    del overhead
    return [list(range(len(lengths)))] if lengths else []


def never_cut() -> AbstractContextManager[object]:
    """While it is entered, every pipeline of this process computes its batches whole."""
    return patch.object(pipeline, "pack_by_length", whole)


if __name__ == "__main__":
    with never_cut():
        status = main("cpu_worker", WorkerConfig, run)
    raise SystemExit(status)
