"""A worker that a request can kill, as a bug in a driver does: python -m tests.integration.dying_worker"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from services.gpu_worker.config import GpuWorkerConfig
from sluice.domain.enums import MemberKind
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.testing.echo import EchoGenerator
from sluice.testing.identity import IdentityBackend
from sluice.worker.app import serve
from sluice.worker.execution.backend import Backend, Item, ModelSpec, Output
from sluice.worker.execution.generator import GenerationEngine, GenerationRequest
from sluice.worker.models.registry import ECHO

DEADLY = "query of death"
STEP_S = 0.005


def die_of(text: str) -> None:
    """End this process at once if `text` is deadly."""
    if DEADLY in text:
        os.kill(os.getpid(), signal.SIGKILL)


class DyingBackend(IdentityBackend):
    """Answers like the identity, until it is asked for DEADLY."""

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """The same output for each."""
        for item in items:
            die_of(item.text)
        return super().execute(items)


class DyingGenerator(EchoGenerator):
    """Writes like the echo, until it is asked to go on from DEADLY."""

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Write the prompt back."""
        die_of(prompt.text)
        super().begin(key, prompt)


def load(spec: ModelSpec) -> Backend | GenerationEngine:
    """What can be killed, of either kind."""
    return DyingGenerator(spec, step_s=STEP_S) if spec.checkpoint.name == ECHO else DyingBackend(spec)


async def run(config: GpuWorkerConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM."""
    await serve(config, tracing, kind=MemberKind.GPU_WORKER, load=load)


if __name__ == "__main__":
    raise SystemExit(main("gpu_worker", GpuWorkerConfig, run))
