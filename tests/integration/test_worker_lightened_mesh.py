"""Level 2 over real processes, from an operator's word to what a worker holds: obeyed, undone, and after a kill too."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest

from sluice import AsyncClient
from sluice.cli.mesh import LocalMesh
from sluice.client.answer import Answer
from sluice.errors import SluiceError
from sluice.status import duration
from sluice.tier import Level, QueryClass, Tier
from sluice.v1 import degradation_pb2, governor_service_pb2, worker_service_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from tests.unit.polling import until

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
    pytest.mark.timeout(300),
]
ROOT = Path(__file__).resolve().parents[2]
MODEL = "support-intent"
FULL, LIGHT = f"{MODEL}/full-fp32", f"{MODEL}/light-fp32"
PATIENCE_S = 60.0
POLL_S = 0.05


class Mesh:
    """A mesh whose GPU worker has a copy of its model, and a caller who never stops asking it."""

    def __init__(self, local: LocalMesh, log: Path) -> None:
        self.local = local
        self.log = log
        self.outcomes: Counter[str] = Counter()

    async def degrade(self, *levels: Level) -> None:
        """Put `levels` in force, by an operator's override."""
        content = degradation_pb2.Degradation(levels=[level.value for level in levels])  # type: ignore[misc]
        request = governor_service_pb2.SetDegradationRequest(degradation=content, duration=duration(300), reason="test")
        async with grpc.aio.insecure_channel(self.local.addresses["governor"]) as channel:
            await governor_grpc.GovernorServiceStub(channel).SetDegradation(request, timeout=10)

    async def comes_to(self, *variants: str) -> None:
        """Return when the GPU worker holds `variants`, all of them ready, and nothing else."""
        wanted = [(name, 2) for name in variants]
        async with (
            asyncio.timeout(PATIENCE_S),
            grpc.aio.insecure_channel(self.local.addresses["gpu_worker"]) as channel,
        ):
            stub = worker_grpc.WorkerServiceStub(channel)
            held: list[tuple[str, int]] = []
            while held != wanted:
                await asyncio.sleep(POLL_S)
                described = await stub.DescribeModels(worker_service_pb2.DescribeModelsRequest())
                held = [(one.id, int(one.state)) for one in described.worker.variants]

    async def logs(self, text: str) -> None:
        """Return when the GPU worker has written `text` to its log."""
        await until(lambda: text in self.log.read_text(encoding="utf-8"), PATIENCE_S)

    async def ask(self) -> None:
        """Ask until cancelled."""
        async with AsyncClient(self.local.router) as client:
            while True:
                try:
                    answer = await client.infer("where is my parcel?", query_class=QueryClass.COMPLEX, timeout_s=20)
                except SluiceError as error:
                    self.outcomes[f"{error.reason}: {error.message}"] += 1
                else:
                    assert isinstance(answer, Answer)
                    self.outcomes[f"{answer.tier.label} by {answer.worker.partition('@')[0]}"] += 1


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Four processes with the demo's models; the copy is loaded when it is needed, so that a swap takes its time."""
    models: dict[str, Any] = {"models_root": str(ROOT / "models"), "profile_seconds": 0, "autonomous": False}
    full = {"model": MODEL, "tier": "full", "checkpoint": f"{MODEL}-full", "distilled": f"{MODEL}-light"}
    light = {"model": MODEL, "tier": "light", "checkpoint": f"{MODEL}-light"}
    settings = {
        "gpu_worker": {**models, "models": [full], "distilled_budget": 0.0},
        "cpu_worker": {**models, "models": [light]},
    }
    async with LocalMesh(settings, environ=os.environ, free_ports=True, log_directory=tmp_path) as local:
        made = Mesh(local, tmp_path / "gpu_worker.log")
        asking = asyncio.create_task(made.ask())
        try:
            yield made
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def test_a_worker_is_lightened_killed_in_the_middle_started_again_brought_back_and_confused(mesh: Mesh) -> None:
    worker = mesh.local.processes["gpu_worker"]
    await mesh.comes_to(FULL)
    await mesh.degrade(Level.LIGHTEN)
    await mesh.logs('"load light"')
    worker.signal(signal.SIGKILL)
    assert await worker.ended(10)
    # Where it was in the swap is not remembered, and need not be: it starts as configured, and obeys.
    mesh.local.start("gpu_worker")
    await worker.ready(PATIENCE_S)
    await mesh.comes_to(LIGHT)
    await mesh.degrade()
    await mesh.comes_to(FULL)
    before = mesh.outcomes["full by gpu_worker"]
    await until(lambda: mesh.outcomes["full by gpu_worker"] > before, PATIENCE_S)
    # Said faster than it can be done.
    for _ in range(6):
        await mesh.degrade(Level.LIGHTEN)
        await asyncio.sleep(0.15)
        await mesh.degrade()
        await asyncio.sleep(0.15)
    await mesh.degrade(Level.LIGHTEN)
    await mesh.comes_to(LIGHT)
    await mesh.degrade()
    await mesh.comes_to(FULL)
    assert {name.partition(" by ")[0] for name in mesh.outcomes} == {Tier.FULL.label, Tier.LIGHT.label}, mesh.outcomes
