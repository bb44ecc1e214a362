"""Four processes with the demo's models, and a caller who never stops asking."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from sluice import AsyncClient
from sluice.cli.mesh import LocalMesh
from sluice.client.answer import Answer
from sluice.domain.enums import Level, Precision, QueryClass
from sluice.domain.errors import SluiceError
from sluice.domain.status import duration
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2, worker_service_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from tests.unit.polling import until

ROOT = Path(__file__).resolve().parents[2]
MODEL = "support-intent"
PATIENCE_S = 60.0
POLL_S = 0.05


class Mesh:
    """A mesh whose GPU worker has a copy of its model, and a caller who never stops asking it."""

    def __init__(self, local: LocalMesh, log: Path) -> None:
        self.local = local
        self.log = log
        self.outcomes: Counter[str] = Counter()
        self.precisions: Counter[str] = Counter()

    async def degrade(self, *levels: Level, precision: Precision = Precision.OWN) -> None:
        """Put `levels` in force, by an operator's override."""
        numbers: list[Any] = [level.value for level in levels]
        content = degradation_pb2.Degradation(levels=numbers, precision=precision.value)  # type: ignore[arg-type]
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

    async def complaint(self) -> health_pb2.HealthReport:
        """The GPU worker's first report that tells of a swap in trouble, as the governor shows it."""
        async with (
            asyncio.timeout(PATIENCE_S),
            grpc.aio.insecure_channel(self.local.addresses["governor"]) as channel,
        ):
            async for response in governor_grpc.GovernorServiceStub(channel).WatchFleet(
                governor_service_pb2.WatchFleetRequest()
            ):
                for member in response.fleet.members:
                    if member.report.swap_trouble:
                        return member.report
        raise AssertionError("the governor went away")

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
                    self.precisions[answer.precision] += 1


@asynccontextmanager
async def asked_mesh(
    logs: Path, *, root: Path = ROOT / "models", environ: Mapping[str, str] | None = None, **entry: str
) -> AsyncIterator[Mesh]:
    """A mesh whose GPU worker serves the full model below `root`, its entry with `entry` too; asked all the time.

    What takes over is loaded when it is needed, so that a swap takes its time.
    """
    common: dict[str, Any] = {"profile_seconds": 0, "autonomous": False}
    full = {"model": MODEL, "tier": "full", "checkpoint": f"{MODEL}-full", **entry}
    light = {"model": MODEL, "tier": "light", "checkpoint": f"{MODEL}-light"}
    settings = {
        "gpu_worker": {**common, "models_root": str(root), "models": [full], "distilled_budget": 0.0},
        "cpu_worker": {**common, "models_root": str(ROOT / "models"), "models": [light]},
    }
    environ = {**os.environ, **(environ or {})}
    async with LocalMesh(settings, environ=environ, free_ports=True, log_directory=logs) as local:
        made = Mesh(local, logs / "gpu_worker.log")
        asking = asyncio.create_task(made.ask())
        try:
            yield made
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
