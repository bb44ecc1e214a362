"""A worker as a program whose speed is known: python -m tests.integration.paced_worker

A batch takes 10 ms an item, so 100 requests a second are classified; 4 generations run at a time, a token each 20 ms.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from services.gpu_worker.config import GpuWorkerConfig
from sluice.domain.enums import MemberKind
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.testing.echo import EchoGenerator
from sluice.testing.identity import IdentityBackend
from sluice.worker.app import serve
from sluice.worker.execution.backend import Backend, Item, ModelSpec, Output
from sluice.worker.execution.generator import GenerationEngine
from sluice.worker.models.registry import ECHO

ITEM_S = 0.01
TOKEN_S = 0.02
MAX_GENERATIONS = 4


class PacedBackend(IdentityBackend):
    """Answers like the identity, after a time for each item."""

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """The same output for each."""
        time.sleep(ITEM_S * len(items))
        return super().execute(items)


def load(spec: ModelSpec) -> Backend | GenerationEngine:
    """An echo that writes or an identity that classifies, at the pace above."""
    if spec.checkpoint == Path(ECHO):
        return EchoGenerator(spec, step_s=TOKEN_S, max_generations=MAX_GENERATIONS)
    return PacedBackend(spec)


async def run(config: GpuWorkerConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM."""
    await serve(config, tracing, kind=MemberKind.GPU_WORKER, load=load)


if __name__ == "__main__":
    raise SystemExit(main("gpu_worker", GpuWorkerConfig, run))
