"""A text as it is written: iterate over its pieces, then ask for its result. For threads and for asyncio alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc

from sluice.client.failure import from_rpc_error
from sluice.client.generated import Draft, Generated
from sluice.client.span import StreamSpan
from sluice.domain.errors import NoEndpoint
from sluice.runtime.tracing import TRACEPARENT_KEY

METHOD = "Generate"
Start = Callable[[Any], Any]


class _Stream:
    """The call is begun by the first who iterates. `start` begins it with the metadata it is given."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._draft = Draft()
        self._begun = False

    @property
    def text(self) -> str:
        """All of the text that has been read."""
        return self._draft.text

    @property
    def tokens(self) -> int:
        """Tokens written when the last piece was read."""
        return self._draft.tokens

    @property
    def result(self) -> Generated:
        """The whole text and all about it. Raises RuntimeError before its end has been read, or when it failed."""
        return self._draft.result()

    def _begin(self, span: StreamSpan) -> Any:
        if self._begun:
            raise RuntimeError("a text is written once; ask again for another one")
        self._begun = True
        return self._start(((TRACEPARENT_KEY, span.traceparent),) if span.traceparent else None)

    def _check_end(self) -> None:
        try:
            self._draft.result()
        except RuntimeError:
            raise NoEndpoint("the router ended the stream before the text") from None


class TextStream(_Stream):
    """Gives the pieces of a text as they come; whoever stops reading cancels what is not written yet.

    for piece in client.generate("Dear customer,"):
        print(piece, end="", flush=True)
    """

    def __iter__(self) -> Iterator[str]:
        """The pieces, none of them empty. Raises the SluiceError that ended the text; what was given before stands."""
        with StreamSpan(METHOD) as span:
            call = self._begin(span)
            try:
                for message in call:
                    piece = self._draft.accept(message)
                    if piece:
                        yield piece
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None
            finally:
                call.cancel()
            self._check_end()

    def read(self) -> Generated:
        """Read to the end. Raises as iterating does."""
        for _ in self:
            pass
        return self.result


class AsyncTextStream(_Stream):
    """Gives the pieces of a text as they come; whoever stops reading cancels what is not written yet.

    async for piece in client.generate("Dear customer,"):
        print(piece, end="", flush=True)
    """

    async def __aiter__(self) -> AsyncIterator[str]:
        """The pieces, none of them empty. Raises the SluiceError that ended the text; what was given before stands."""
        with StreamSpan(METHOD) as span:
            call = self._begin(span)
            try:
                async for message in call:
                    piece = self._draft.accept(message)
                    if piece:
                        yield piece
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from None
            finally:
                call.cancel()
            self._check_end()

    async def read(self) -> Generated:
        """Read to the end. Raises as iterating does."""
        async for _ in self:
            pass
        return self.result
