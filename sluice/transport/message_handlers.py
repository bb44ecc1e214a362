"""Method handlers that read their messages themselves.

gRPC ends a call whose request it cannot parse with UNKNOWN or INTERNAL and logs a traceback, whatever the server would
have said. So the server is given handlers of bytes, and bytes that are no message are the caller's mistake: the call
ends with INVALID_ARGUMENT, and a rate-limited line says who sent them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from sluice.domain.errors import AnswerTooLarge, InvalidRequest
from sluice.domain.status import abort
from sluice.runtime.logging import LimitedLog
from sluice.runtime.message_size import checked

MessageType = TypeVar("MessageType", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
# A coroutine function, or an asynchronous generator function, of (request or requests, context).
Behaviour = Callable[[Any, Any], Any]

UNREADABLE = "a message cannot be read"


class Unreadable(InvalidRequest):
    """Bytes that are no message of the type that was expected."""


def parse(kind: type[MessageType], data: bytes, *, field: str = "") -> MessageType:
    """`data` as a message of `kind`. Raises InvalidRequest with `field` for bytes that are none, invalid UTF-8
    included.
    """
    try:
        return kind.FromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        name = kind.DESCRIPTOR.full_name
        raise Unreadable(f"the message cannot be read as {name}: {error}", field=field) from error


class MessageHandlers:
    """Makes the handlers of one service. Behaviours take messages, and give messages or bytes.

    A behaviour that is given a stream sees Unreadable, an InvalidRequest, raised by its iterator; it may let that pass
    or end the call itself. Messages of more than `max_bytes`, where that is given, are refused as unreadable:
    a request may be kept for as long as its stream is open.
    """

    def __init__(self, service: str, *, max_bytes: int | None = None) -> None:
        self._service = service
        self._max_bytes = max_bytes
        self._log = LimitedLog(logging.getLogger(__name__))

    def handler(self, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> grpc.GenericRpcHandler[Any, Any]:
        """What the server is given."""
        return grpc.method_handlers_generic_handler(self._service, methods)

    def unary_unary(self, kind: type[Message], behaviour: Behaviour) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler of one message that returns one. An answer that its caller does not take ends the call."""

        async def handle(data: bytes, context: Context) -> bytes:
            response = await behaviour(await self._request(kind, data, context), context)
            try:
                return checked(_encoded(response), context.invocation_metadata)
            except AnswerTooLarge as error:
                await abort(context, error)

        return grpc.unary_unary_rpc_method_handler(handle)

    def unary_stream(self, kind: type[Message], behaviour: Behaviour) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler of one message that yields or writes many."""

        async def handle(data: bytes, context: Context) -> None:
            await _run(behaviour, await self._request(kind, data, context), context)

        return grpc.unary_stream_rpc_method_handler(handle, response_serializer=_encoded)

    def stream_stream(self, kind: type[Message], behaviour: Behaviour) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler of a stream of messages that yields or writes many."""

        async def handle(stream: AsyncIterator[bytes], context: Context) -> None:
            try:
                await _run(behaviour, self._requests(kind, stream, context), context)
            except Unreadable as error:
                await abort(context, error)

        return grpc.stream_stream_rpc_method_handler(handle, response_serializer=_encoded)

    async def _request(self, kind: type[Message], data: bytes, context: Context) -> Message:
        try:
            return self._parse(kind, data)
        except Unreadable as error:
            self._tell(error, context)
            await abort(context, error)

    async def _requests(
        self, kind: type[Message], stream: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[Message]:
        async for data in stream:
            try:
                message = self._parse(kind, data)
            except Unreadable as error:
                self._tell(error, context)
                raise
            yield message

    def _parse(self, kind: type[Message], data: bytes) -> Message:
        if self._max_bytes is not None and len(data) > self._max_bytes:
            raise Unreadable(f"the message has {len(data)} bytes, and {self._max_bytes} is the most")
        return parse(kind, data)

    def _tell(self, error: Unreadable, context: Context) -> None:
        self._log.warning(UNREADABLE, rpc_service=self._service, peer=context.peer(), why=error.message)


async def _run(behaviour: Behaviour, request: Any, context: Context) -> None:
    work = behaviour(request, context)
    if not inspect.isasyncgen(work):
        await work
        return
    async with aclosing(work) as responses:
        async for response in responses:
            await context.write(response)


def _encoded(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
