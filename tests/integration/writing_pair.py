"""A worker in this process whose model writes and has a copy, a router before it, and callers who never stop asking."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from sluice.domain.enums import Tier
from sluice.testing.echo import EchoGenerator
from sluice.worker.execution.backend import BackendLoader
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE, DesiredState
from sluice.worker.resources.reading import Memory
from tests.integration.fake_worker import router_to
from tests.integration.live_router import face_of
from tests.integration.live_worker import Worker, working
from tests.integration.text_mesh import MODEL, Scribe, TextMesh
from tests.unit.polling import LIMIT_S, until
from tests.unit.worker.ram import following

FULL, LIGHT = f"{MODEL}/full-fp32", f"{MODEL}/light-fp32"
CALLERS = 8


class WritingPair:
    """A full model and its copy, which follow `wish`; `wrote` counts by tier who wrote what callers asked for."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.mesh: TextMesh
        self.wish = FULL_SERVICE
        self.wrote: Counter[int] = Counter()

    def states(self) -> dict[str, str]:
        return {variant.id: variant.state.name for variant in self.worker.bench.catalog.variants()}

    async def reach(self, wish: DesiredState, states: dict[str, str], limit_s: float = LIMIT_S) -> None:
        """Wish for `wish` until the worker holds `states`."""
        self.wish = wish
        await until(lambda: self.states() == states, limit_s)

    async def under_load(
        self, call: Callable[[TextMesh], Awaitable[int]], story: Callable[[], Awaitable[None]]
    ) -> None:
        """While `story` is told, have every caller make one `call` after the other, which returns who wrote."""
        over = asyncio.Event()

        async def keep_calling() -> None:
            while not over.is_set():
                self.wrote[await call(self.mesh)] += 1

        callers = [asyncio.create_task(keep_calling()) for _ in range(CALLERS)]
        try:
            await story()
        finally:
            over.set()
            await asyncio.gather(*callers)


@asynccontextmanager
async def writing_pair(
    root: Path,
    *,
    load: BackendLoader,
    memory: Callable[[SwapController], Memory],
    light_budget: float = 0.05,
    precision: str = "",
    echoes: Mapping[Tier, EchoGenerator] = MappingProxyType({}),
) -> AsyncIterator[WritingPair]:
    """A worker that serves checkpoint `full` below `root`, whose copy is `light`. `echoes` are what `load` makes."""
    async with working(root=root, load=load) as worker:
        made = WritingPair(worker)
        catalog = worker.bench.catalog
        swapper = SwapController(
            catalog,
            wish=lambda: made.wish,
            memory=lambda: memory(swapper),
            ceiling=0.92,
            light_budget=light_budget,
            settle_s=0.02,
        )
        full, copy = (
            catalog.spec(model=MODEL, tier=tier, checkpoint=tier.label, precision=precision)
            for tier in (Tier.FULL, Tier.LIGHT)
        )
        try:
            await swapper.add(full, light=copy)
            async with (
                router_to(worker.address, endpoint_grace_s=5) as router,
                face_of(router) as face,
                following(swapper),
            ):
                made.mesh = TextMesh(face, [Scribe(worker, echoes)])
                yield made
        finally:
            await catalog.close()
