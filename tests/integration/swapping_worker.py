"""A worker in this process that serves a real checkpoint and follows a wish, and callers who never stop asking."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from services.gpu_worker.load import load
from services.router.requests.request import Request
from services.router.router import Router
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import SluiceError
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE, DesiredState
from sluice.worker.resources.reading import Memory
from tests.integration.fake_worker import router_to
from tests.integration.live_worker import Worker, working
from tests.unit.polling import until
from tests.unit.worker.ram import following

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
MODEL = "support-intent"
FULL, LIGHT = f"{MODEL}/full-fp32", f"{MODEL}/light-fp32"
CALLERS = 8
PATIENCE_S = 30.0
LIMIT, CEILING = 1 << 44, 0.92


class Swapping:
    """One worker and one router. `outcomes` counts what became of each request: its tier, or its failure."""

    def __init__(self, worker: Worker, swapper: SwapController, router: Router) -> None:
        self.worker = worker
        self.swapper = swapper
        self.router = router
        self.wish = FULL_SERVICE
        self.room = 1 << 40
        self.outcomes: Counter[str] = Counter()
        self.wrong = 0
        self.changed = asyncio.Event()
        self.seen: list[dict[str, str]] = []
        self.examples = _examples()

    def states(self) -> dict[str, str]:
        return {variant.id: variant.state.name for variant in self.worker.bench.catalog.variants()}

    def note(self) -> None:
        """What the worker holds has changed."""
        self.seen.append(self.states())
        self.changed.set()

    def memory(self) -> Memory:
        """As if `room` bytes were there for models below the ceiling, and the models took exactly their weights."""
        slots = [slot for ladder in self.swapper._ladders for slot in ladder.slots]
        held = sum(slot.size_bytes for slot in slots if slot.held is not None)
        return Memory(used_bytes=LIMIT * CEILING - self.room + held, limit_bytes=LIMIT)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the full model and of its copy."""
        (ladder,) = self.swapper._ladders
        assert ladder.light is not None
        return int(ladder.full.size_bytes), int(ladder.light.size_bytes)

    async def reach(self, wish: DesiredState, states: dict[str, str]) -> float:
        """Wish for `wish` until the worker holds `states`; returns the seconds that took."""
        begun_at = time.monotonic()
        self.wish = wish
        while self.states() != states:
            await self._change()
        return time.monotonic() - begun_at

    async def under_load(self, story: Callable[[], Awaitable[None]], *, at_least: int) -> None:
        """Ask all the time while `story` is told, and until `at_least` requests have been answered."""
        over = asyncio.Event()
        callers = [asyncio.create_task(self._call(number, over)) for number in range(CALLERS)]
        try:
            await story()
            while self.outcomes.total() < at_least:
                await self._change()
        finally:
            over.set()
            await asyncio.gather(*callers)

    async def trouble(self) -> str:
        """What the swapper complains of, as soon as it does."""
        await until(lambda: self.swapper.trouble)
        return self.swapper.trouble

    async def _change(self) -> None:
        # Of what the worker holds, or of how many were answered.
        self.changed.clear()
        await asyncio.wait_for(self.changed.wait(), PATIENCE_S)

    async def _call(self, number: int, over: asyncio.Event) -> None:
        at = number
        while not over.is_set():
            text, label = self.examples[at % len(self.examples)]
            at += CALLERS
            deadline = time.monotonic() + PATIENCE_S
            request = Request(model=MODEL, text=text, deadline=deadline, query_class=QueryClass.COMPLEX)
            try:
                answer = await self.router.infer(request)
            except SluiceError as error:
                self.outcomes[f"{error.reason}: {error.message}"] += 1
            else:
                self.outcomes[answer.variant.tier.label] += 1
                self.wrong += answer.result.classification.label != label
            self.changed.set()


def _examples() -> list[tuple[str, str]]:
    lines = (ROOT / "examples" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    return [(example["text"], example["label"]) for example in map(json.loads, lines)]


@asynccontextmanager
async def swapping(
    root: Path = MODELS, *others: Worker, light_budget: float = 0.05, settle_s: float = 1.0
) -> AsyncIterator[Swapping]:
    """A worker with the demo's full model and its distilled copy, on a machine with memory to spare.

    `others` serve beside it.
    """
    made: Swapping | None = None
    async with working(root, load=partial(load, device_name="cpu")) as worker:
        catalog = worker.bench.catalog
        swapper = SwapController(
            catalog,
            wish=lambda: made.wish if made else FULL_SERVICE,
            memory=lambda: made.memory() if made else Memory(used_bytes=0, limit_bytes=LIMIT),
            ceiling=CEILING,
            light_budget=light_budget,
            settle_s=settle_s,
        )
        await swapper.add(
            catalog.spec(model=MODEL, tier=Tier.FULL, checkpoint="support-intent-full"),
            light=catalog.spec(model=MODEL, tier=Tier.LIGHT, checkpoint="support-intent-light"),
        )
        async with router_to(worker.address, *(other.address for other in others)) as router:
            made = Swapping(worker, swapper, router)
            catalog.watch(made.note)
            async with following(swapper):
                yield made
