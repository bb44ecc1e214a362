"""A worker without its network: a device and a catalog, over backends whose every output the test decides."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from sluice.domain.enums import Task, Tier
from sluice.domain.variant import Variant, variant_id
from sluice.worker.execution.backend import Backend, BackendLoader, Classification, Item, ModelSpec, Output
from sluice.worker.execution.batch import BatchItem, WorkerBatch
from sluice.worker.executor import DeviceExecutor
from sluice.worker.models.registry import IDENTITY, ModelRegistry

WAIT_S = 20.0
HELD = "m/light-fp32"
Answerer = Callable[[Sequence[Item]], list[Output]]


def echo(items: Sequence[Item]) -> list[Output]:
    """Each item's own text as its label."""
    return [Classification(item.text, 1.0) for item in items]


class ScriptedBackend:
    """Answers with `answer`, and keeps what it was asked. While `go_on` is cleared it holds the device."""

    def __init__(self, spec: ModelSpec, answer: Answerer = echo) -> None:
        self.spec = spec
        self.answer = answer
        self.calls: list[list[str]] = []
        self.warmed = self.closed = 0
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        precision = spec.precision or "fp32"
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, precision),
            model=spec.model,
            tier=spec.tier,
            task=Task.TEXT_CLASSIFICATION,
            precision=precision,
        )

    def warm_up(self) -> None:
        self.warmed += 1

    def execute(self, items: Sequence[Item]) -> list[Output]:
        assert not self.closed, "a closed backend was used"
        self.calls.append([item.text for item in items])
        self.begun.set()
        assert self.go_on.wait(WAIT_S), "the test let go of the device too late"
        return self.answer(items)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """`made` are the backends in the order in which they were loaded."""

    def __init__(self, device: DeviceExecutor, catalog: ModelRegistry, made: list[ScriptedBackend]) -> None:
        self.device = device
        self.catalog = catalog
        self.made = made

    @property
    def backend(self) -> ScriptedBackend:
        """The first backend that was made."""
        return self.made[0]

    async def begun(self) -> None:
        """Return when the first backend computes."""
        assert await asyncio.to_thread(self.backend.begun.wait, WAIT_S)


@asynccontextmanager
async def bench(
    *,
    answer: Answerer = echo,
    load: BackendLoader | None = None,
    root: Path = Path(),
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Bench]:
    """A bench that holds variant `m/light-fp32`, or nothing if it is given a loader of its own."""
    made: list[ScriptedBackend] = []

    def scripted(spec: ModelSpec) -> Backend:
        made.append(ScriptedBackend(spec, answer))
        return made[-1]

    with ThreadPoolExecutor(1) as device_thread, ThreadPoolExecutor(1) as loader_thread:
        catalog = ModelRegistry(
            root=root,
            load=load or scripted,
            loader_thread=loader_thread,
            device_thread=device_thread,
            max_batch_size=16,
            threads=3,
        )
        if load is None:
            await catalog.load(model="m", tier=Tier.LIGHT, checkpoint=IDENTITY)
        try:
            yield Bench(DeviceExecutor(device_thread, catalog, clock=clock), catalog, made)
        finally:
            # A test that failed while it held the device must not hold everybody else.
            for backend in made:
                backend.go_on.set()


def work(*texts: str, variant: str = HELD, deadline: float = float("inf"), first: int = 1) -> WorkerBatch:
    """A batch of `texts` with ids from `first` on."""
    items = [BatchItem(number, Item(text), deadline) for number, text in enumerate(texts, first)]
    done = asyncio.get_running_loop().create_future()
    return WorkerBatch(variant_id=variant, items=items, taken_at=time.monotonic(), done=done)
