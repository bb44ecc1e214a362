"""A GPU worker as a program whose device is lost when a text says so: python -m tests.integration.losing_worker"""

from __future__ import annotations

from collections.abc import Sequence

from services.gpu_worker.config import GpuWorkerConfig
from sluice.domain.enums import MemberKind
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.testing.identity import IdentityBackend
from sluice.worker.app import serve
from sluice.worker.execution.backend import Item, Output

PULL = "pull the plug"


class LosingBackend(IdentityBackend):
    """Answers like the identity, until it is asked for PULL."""

    _is_lost = False

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """The same output for each."""
        self._is_lost = self._is_lost or any(item.text == PULL for item in items)
        if self._is_lost:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return super().execute(items)

    def is_device_lost(self) -> bool:
        """Whether the plug was pulled."""
        return self._is_lost


async def run(config: GpuWorkerConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM or the end of the device."""
    await serve(config, tracing, kind=MemberKind.GPU_WORKER, load=LosingBackend)


if __name__ == "__main__":
    raise SystemExit(main("gpu_worker", GpuWorkerConfig, run))
