"""A mesh in this process that writes: a router with its public face before real workers, whose models are echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from services.router.app import report
from sluice.client.failure import from_rpc_error
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import Tier
from sluice.domain.errors import SluiceError
from sluice.testing.echo import EchoGenerator
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.registry import ECHO
from tests.integration.fake_worker import router_to
from tests.integration.live_router import Face, face_of
from tests.integration.live_worker import Worker, working

MODEL = "chat"
STOP, LENGTH = inference_pb2.FINISH_REASON_STOP, inference_pb2.FINISH_REASON_LENGTH


class Scribe:
    """One worker, and the echoes that it writes with, by tier."""

    def __init__(self, worker: Worker, echoes: Mapping[Tier, EchoGenerator]) -> None:
        self.worker = worker
        self.echoes = echoes

    @property
    def echo(self) -> EchoGenerator:
        """Its only echo."""
        (only,) = self.echoes.values()
        return only

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open here any more: no text, no memory, no item."""
        held = sum(echo.open_texts + echo.held_tokens for echo in self.echoes.values())
        return held == self.worker.servicer.open_items() == 0


class TextMesh:
    """Where to ask, and all that is behind it."""

    def __init__(self, face: Face, scribes: list[Scribe]) -> None:
        self.face = face
        self.router = face.router
        self.scribes = scribes

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open anywhere."""
        links = list(self.router.pool.links())
        return (
            self.router.open_requests == self.router.texts.open == self.router.admission.size == 0
            and not any(link.texts.open for link in links)
            and all(scribe.is_idle for scribe in self.scribes)
            and report(self.router).inflight == 0
        )

    def outcomes(self) -> dict[str, int]:
        """How many texts ended how."""
        found: dict[str, int] = {}
        for (_, _, outcome, _), count in self.router.ledger.outcomes.items():
            found[outcome] = found.get(outcome, 0) + count
        return found

    def ask(self, prompt: str, *, timeout_s: float = 30.0, **fields: Any) -> Call:
        """A call of Generate."""
        usual = {"model": MODEL, "prompt": prompt, "max_new_tokens": 50_000}
        return Call(self.face.stub.Generate(inference_pb2.GenerateRequest(**(usual | fields)), timeout=timeout_s))


@asynccontextmanager
async def text_mesh(
    *workers: dict[Tier, dict[str, Any]], directives: ActiveDirective | None = None, **settings: Any
) -> AsyncIterator[TextMesh]:
    """A mesh with one worker for each of `workers`: options of its echoes by tier."""
    async with AsyncExitStack() as stack:
        scribes = [await stack.enter_async_context(_scribe(options)) for options in workers]
        addresses = [scribe.worker.address for scribe in scribes]
        router = await stack.enter_async_context(router_to(*addresses, directives=directives, **settings))
        yield TextMesh(await stack.enter_async_context(face_of(router)), scribes)


@asynccontextmanager
async def _scribe(options: dict[Tier, dict[str, Any]]) -> AsyncIterator[Scribe]:
    echoes: dict[Tier, EchoGenerator] = {}

    def load(spec: ModelSpec) -> EchoGenerator:
        echoes[spec.tier] = EchoGenerator(spec, **options[spec.tier])
        return echoes[spec.tier]

    async with working(load=load) as worker:
        for tier in options:
            await worker.bench.catalog.load(model=MODEL, tier=tier, checkpoint=ECHO)
        try:
            yield Scribe(worker, echoes)
        finally:
            await worker.bench.catalog.close()


class Call:
    """A call of Generate, and all that its caller has read."""

    def __init__(self, rpc: Any) -> None:
        self.rpc = rpc
        self.messages: list[inference_pb2.GenerateResponse] = []
        self._reading = rpc.__aiter__()

    @property
    def text(self) -> str:
        return "".join(message.text for message in self.messages)

    @property
    def last(self) -> inference_pb2.GenerateResponse:
        return self.messages[-1]

    async def begun(self, tokens: int = 1) -> inference_pb2.GenerateResponse:
        """The first message, once so many tokens have been read."""
        while not self.messages or self.last.tokens < tokens:
            self.messages.append(await asyncio.wait_for(self._reading.__anext__(), 10))
        return self.messages[0]

    async def ended(self) -> str:
        """The whole text. Raises what the mesh ends the call with."""
        try:
            async for message in self._reading:
                self.messages.append(message)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return self.text

    async def failure(self) -> SluiceError:
        """What the call failed with."""
        try:
            await self.ended()
        except SluiceError as error:
            return error
        raise AssertionError("the call ended well")

    def cancel(self) -> None:
        self.rpc.cancel()
