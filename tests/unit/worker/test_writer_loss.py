"""A model that writes and has lost its device: who finds out, and that the program that waits for it is told."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sluice.domain.enums import Tier
from sluice.domain.errors import WorkerFailed
from sluice.runtime.config import TelemetryConfig
from sluice.runtime.tracing import Tracing
from sluice.testing.echo import EchoGenerator
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.device_health import DeviceLossLatch
from sluice.worker.execution.generator import Chunk, GenerationEngine, GenerationRequest
from sluice.worker.executor import DeviceExecutor
from sluice.worker.models.registry import IDENTITY, ModelRegistry
from sluice.worker.server.generation_stream import GenerationSession
from sluice.worker.server.tracing import WorkerSpans

WAIT_S = 10.0


class Failing(EchoGenerator):
    """Fails at every text; `is_lost` says whether it ever will be able to again."""

    def __init__(self, spec: ModelSpec, *, is_lost: bool) -> None:
        super().__init__(spec)
        self._is_lost = is_lost

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Fail at once."""
        assert self._hear is not None
        self._hear([Chunk(key=key, error=WorkerFailed("the device says nothing"))])

    def is_device_lost(self) -> bool:
        """As it was made."""
        return self._is_lost


async def why_lost(*, is_lost: bool) -> str:
    """What is reported of a device at which a text has failed."""

    def load(spec: ModelSpec) -> GenerationEngine:
        return Failing(spec, is_lost=is_lost)

    with ThreadPoolExecutor(1) as device_thread, ThreadPoolExecutor(1) as loader_thread:
        catalog = ModelRegistry(
            root=Path(),
            load=load,
            loader_thread=loader_thread,
            device_thread=device_thread,
            max_batch_size=16,
            threads=1,
        )
        variant = await catalog.load(model="m", tier=Tier.FULL, checkpoint=IDENTITY)
        loss = DeviceLossLatch()
        device = DeviceExecutor(device_thread, catalog, loss=loss)
        ended: asyncio.Future[worker_pb2.GenerationPiece] = asyncio.get_running_loop().create_future()
        session = GenerationSession(
            catalog,
            credits_=1,
            send=lambda pieces, begun: ended.set_result(pieces[-1]),
            spans=WorkerSpans(Tracing(service="test", config=TelemetryConfig()), worker="w"),
            failed=device.probe,
        )
        session.take(
            worker_pb2.Generation(id=1, variant=variant.id, prompt="a", max_new_tokens=1, top_p=1), draining=False
        )
        assert (await asyncio.wait_for(ended, WAIT_S)).status.message == "the device says nothing"
        # Behind the look at the device, which runs on this thread.
        await asyncio.get_running_loop().run_in_executor(device_thread, lambda: None)
        return loss.why


async def test_a_text_that_fails_has_the_device_looked_at_and_its_loss_is_reported() -> None:
    assert await why_lost(is_lost=True)


async def test_a_device_that_still_computes_is_not_given_up_for_a_text() -> None:
    assert not await why_lost(is_lost=False)
