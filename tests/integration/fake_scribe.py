"""A worker whose every piece of text the test writes, and the prompts that it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from sluice.domain.enums import Task, Tier
from sluice.domain.errors import SluiceError
from sluice.domain.status import to_item_status
from sluice.domain.variant import Variant, to_proto, variant_id
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from tests.unit.polling import until

MODEL = "chat"


def card(tier: Tier = Tier.FULL, **more: Any) -> Variant:
    """A variant of model `chat` that writes."""
    return Variant(id=variant_id(MODEL, tier, "fp32"), model=MODEL, tier=tier, task=Task.TEXT_GENERATION, **more)


class FakeScribe(worker_grpc.WorkerServiceServicer):
    """Grants `credits_` texts, and writes what the test says. `texts` are open, by id, in the order of coming."""

    def __init__(self, *variants: Variant, credits_: int = 4, name: str = "scribe") -> None:
        self.name = name
        self.variants = list(variants) or [card()]
        self.credits = credits_
        self.texts: dict[int, worker_pb2.Generation] = {}
        self.cancelled: list[int] = []
        self.batches: list[worker_pb2.Batch] = []
        self._outbox: asyncio.Queue[worker_pb2.ExecuteResponse | None] = asyncio.Queue()

    async def Execute(self, request_iterator: AsyncIterator[worker_pb2.ExecuteRequest], context: Any) -> None:
        self._outbox = asyncio.Queue()
        credit = worker_pb2.Credit(batches=1, max_items=8, generations=self.credits)
        await context.write(worker_pb2.ExecuteResponse(welcome=self._card(), credit=credit))
        reader = asyncio.create_task(self._read(request_iterator))
        try:
            while (response := await self._outbox.get()) is not None:
                await context.write(response)
            self.texts.clear()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "it died")
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def text(self, prompt: str) -> int:
        """The id of the open text with `prompt`, once it has come."""
        await until(lambda: any(one.prompt == prompt for one in self.texts.values()))
        return next(number for number, one in self.texts.items() if one.prompt == prompt)

    def write(self, number: int, text: str = "", *, tokens: int = 0, finish: int = 0, grants: int = 0) -> None:
        """Send a piece of a text whose prompt has two tokens, and `grants` credits."""
        self.say(
            worker_pb2.GenerationPiece(id=number, text=text, tokens=tokens, prompt_tokens=2, finish_reason=finish),  # type: ignore[arg-type]
            grants=grants,
        )
        if finish:
            self.texts.pop(number, None)

    def fail(self, number: int, error: SluiceError, *, tokens: int = 0) -> None:
        """End a text so."""
        self.texts.pop(number, None)
        self.say(worker_pb2.GenerationPiece(id=number, tokens=tokens, prompt_tokens=2, status=to_item_status(error)))

    def say(self, *pieces: worker_pb2.GenerationPiece, grants: int = 0) -> None:
        """One step of the device."""
        response = worker_pb2.ExecuteResponse(pieces=pieces)
        if grants:
            response.credit.CopyFrom(worker_pb2.Credit(max_items=8, generations=grants))
        self._outbox.put_nowait(response)

    def tell(self, *variants: Variant, draining: bool = False) -> None:
        """The worker holds these from now on."""
        self.variants = list(variants)
        self._outbox.put_nowait(worker_pb2.ExecuteResponse(welcome=self._card(draining=draining)))

    def die(self) -> None:
        """Break the stream; the worker can be dialled again."""
        self._outbox.put_nowait(None)

    async def died(self) -> None:
        """As `die`, and return when it has happened."""
        self.die()
        await until(lambda: not self.texts)

    def _card(self, *, draining: bool = False) -> worker_pb2.Welcome:
        return worker_pb2.Welcome(worker=self.name, variants=map(to_proto, self.variants), draining=draining)

    async def _read(self, requests: AsyncIterator[worker_pb2.ExecuteRequest]) -> None:
        async for request in requests:
            if request.HasField("generation"):
                self.texts[request.generation.id] = request.generation
            elif request.HasField("batch"):
                self.batches.append(request.batch)
            else:
                self.cancelled.extend(request.cancel.ids)
                for number in request.cancel.ids:
                    self.texts.pop(number, None)
