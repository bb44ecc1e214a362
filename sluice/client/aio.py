"""The client for asyncio. One channel; use it from the loop that made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from sluice.client.answer import Answer, from_proto
from sluice.client.failure import from_rpc_error
from sluice.client.options import DEFAULT_ROUTER, channel_options
from sluice.client.prompt import Prompt
from sluice.client.prompt import to_proto as prompt_to_proto
from sluice.client.query import Query, checked_max_open, checked_timeout, to_proto
from sluice.client.span import request_span
from sluice.client.text_stream import AsyncTextStream
from sluice.domain.errors import SluiceError
from sluice.runtime.channel import proxy_options
from sluice.runtime.tracing import TRACEPARENT_KEY
from sluice.v1 import inference_service_pb2_grpc as inference_grpc


class AsyncClient:
    """Asks a router. `timeout_s` is the deadline of every request that does not bring its own.

    async with AsyncClient("127.0.0.1:50051") as client:
        print((await client.infer("where is my parcel?")).label)
    """

    def __init__(self, router: str = DEFAULT_ROUTER, *, timeout_s: float = 10.0) -> None:
        self._timeout_s = checked_timeout(timeout_s)
        self._channel = grpc.aio.insecure_channel(router, options=(*channel_options(), *proxy_options(router)))
        self._stub = inference_grpc.InferenceServiceStub(self._channel)

    async def infer(self, text: str | Query, **options: Any) -> Answer:
        """Answer one text; `options` are those of `Query`. Raises the SluiceError that the mesh answered with.

        Cancelling the caller cancels the request, down to the worker.
        """
        query = text if isinstance(text, Query) else Query(text=text, **options)
        timeout_s = query.timeout_s if query.timeout_s is not None else self._timeout_s
        with request_span("Infer") as traceparent:
            metadata = ((TRACEPARENT_KEY, traceparent),) if traceparent else None
            try:
                return from_proto(await self._stub.Infer(to_proto(query), timeout=timeout_s, metadata=metadata))
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from None

    async def infer_many(
        self, texts: Iterable[str | Query], *, max_open: int = 64, **options: Any
    ) -> AsyncIterator[tuple[int, Answer | SluiceError]]:
        """Answer many texts, at most `max_open` at a time; gives (place in `texts`, outcome) as each is done."""
        checked_max_open(max_open)
        source = iter(enumerate(texts))
        open_tasks: set[asyncio.Task[tuple[int, Answer | SluiceError]]] = set()
        try:
            while True:
                while len(open_tasks) < max_open and (entry := next(source, None)) is not None:
                    open_tasks.add(asyncio.create_task(self._outcome(*entry, options)))
                if not open_tasks:
                    return
                done, open_tasks = await asyncio.wait(open_tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in open_tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*open_tasks, return_exceptions=True)

    def generate(self, prompt: str | Prompt, **options: Any) -> AsyncTextStream:
        """A text that goes on from `prompt`, to be read piece by piece or by `read`; `options` are those of `Prompt`.

        Nothing is asked before it is read. A text whose first piece has come is never begun anew.
        """
        wanted = prompt if isinstance(prompt, Prompt) else Prompt(text=prompt, **options)
        timeout_s = wanted.timeout_s if wanted.timeout_s is not None else self._timeout_s
        message = prompt_to_proto(wanted)
        return AsyncTextStream(lambda metadata: self._stub.Generate(message, timeout=timeout_s, metadata=metadata))

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(None)

    async def _outcome(
        self, place: int, text: str | Query, options: dict[str, Any]
    ) -> tuple[int, Answer | SluiceError]:
        try:
            return place, await self.infer(text, **options)
        except SluiceError as error:
            return place, error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
