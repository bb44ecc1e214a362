"""A device without room for a batch, seen by those who asked: the largest text is refused, all others answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from services.router.requests.request import InferResult, Request
from sluice.domain.errors import Saturated, SluiceError
from sluice.worker.execution.backend import Item, Output
from tests.integration.fake_worker import router_to
from tests.integration.live_worker import MAX_ITEMS, working
from tests.unit.worker.bench import echo

ROOM = 40


def tight(items: Sequence[Item]) -> list[Output]:
    """As a model whose activations fill the device: a batch is as large as its texts and the longest of them."""
    if len(items) * max(len(item.text) for item in items) > ROOM:
        raise MemoryError("out of memory")
    return echo(items)


async def test_only_what_cannot_fit_is_refused_and_the_worker_goes_on() -> None:
    async with working(answer=tight) as worker, router_to(worker.address, batch_timeout_ms=200) as router:

        async def ask(text: str) -> InferResult | SluiceError:
            request = Request(model="m", text=text, deadline=time.monotonic() + 20)
            try:
                return await router.infer(request)
            except SluiceError as error:
                return error

        texts = ["a" * 20, "b" * 15, "c" * 41, *["d" * 10] * (MAX_ITEMS - 3)]
        for _ in range(3):
            answers = await asyncio.gather(*map(ask, texts))
            refused = [text for text, answer in zip(texts, answers, strict=True) if not isinstance(answer, InferResult)]
            assert refused == ["c" * 41]
            assert isinstance(answers[2], Saturated)
            assert "memory does not suffice" in answers[2].message
        assert await worker.says_serving()
        assert all(link.up for link in router.pool.links())
