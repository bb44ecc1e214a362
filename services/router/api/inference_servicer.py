"""InferenceService's single calls: bytes in, bytes out, everything between belongs to the router.

Handlers take raw bytes, so that a message which cannot be read is refused with the contract's status.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc

from services.router.admission.rejection import Rejection
from services.router.api.codec import (
    encode_response,
    generate_request_from_proto,
    generate_response_to_proto,
    infer_request_from_proto,
    priority_of,
)
from services.router.api.infer_stream import InferStreamHandler
from services.router.lifecycle.generations import GenerationCoordinator
from services.router.observability.tracing import RequestSpans, traceparent_in
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import GenerationResult, Request
from services.router.requests.sampling_params import SamplingParams
from services.router.requests.validation import check_conversation, deadline_after
from services.router.router import Router
from sluice.domain.errors import ShuttingDown, SluiceError
from sluice.domain.status import abort, abort_with
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES, checked, limit_of
from sluice.transport.message_handlers import parse
from sluice.v1 import inference_service_pb2 as inference_pb2

# One Generate call: a text's pieces go out as its reader takes them, and the call ends as the text does.


# For everything in a message but its text.
OVERHEAD_BYTES = 8_192

Write = Callable[[bytes], Awaitable[None]]


async def generate(
    texts: GenerationCoordinator,
    spans: RequestSpans,
    request: Request,
    sampling: SamplingParams,
    write: Write,
    *,
    max_message_bytes: int = DEFAULT_LIMIT_BYTES,
) -> None:
    """Write the text out, in messages of at most `max_message_bytes`.

    Raises the SluiceError that ends it; a caller who goes away cancels it, at the worker too.
    """
    request.traceparent, span = spans.begin("Generate", request.traceparent)
    with spans.recording(span, request) as record:
        ticket = texts.take(request, sampling)
        try:
            record(await _pass_on(ticket, write, max_message_bytes - OVERHEAD_BYTES))
        finally:
            # Nothing happens if it has ended.
            texts.cancel(ticket)


async def _pass_on(ticket: PendingGeneration, write: Write, most_bytes: int) -> GenerationResult:
    is_first = True
    while True:
        portion = await ticket.outlet.take()
        outcome = portion.outcome
        if portion.text or not isinstance(outcome, SluiceError):
            for part in portion.in_parts(most_bytes):
                await write(generate_response_to_proto(part, ticket, is_first=is_first).SerializeToString())
                is_first = False
        if isinstance(outcome, SluiceError):
            raise outcome
        if outcome is not None:
            return outcome


SERVICE = "sluice.v1.InferenceService"
Context = grpc.aio.ServicerContext[Any, Any]


class InferenceServicer:
    """Translates between the wire and `Router`."""

    def __init__(self, router: Router, spans: RequestSpans) -> None:
        self._router = router
        self._spans = spans
        self._streams: set[InferStreamHandler] = set()
        self._no_stream = asyncio.Event()
        self._no_stream.set()

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What the server is given. Bytes stay bytes until we read them."""
        methods = {
            "Infer": grpc.unary_unary_rpc_method_handler(self.infer),
            "InferStream": grpc.stream_stream_rpc_method_handler(self.infer_stream),
            "Generate": grpc.unary_stream_rpc_method_handler(self.generate),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def infer(self, data: bytes, context: Context) -> bytes:
        """Answer one text."""
        try:
            message = parse(inference_pb2.InferRequest, data, field="text")
            check_conversation(message.conversation_id)
            caller = self._router.callers.resolve(context)
            refusal = self._router.door.refusal(
                priority=priority_of(message),
                caller=caller,
                conversation=message.conversation_id,
                model=message.model,
                minimum_tier=message.minimum_tier,
            )
            if refusal is not None:
                self._spans.refused("Infer", context, refusal)
                await refuse(context, refusal)
            request = infer_request_from_proto(
                message,
                deadline=self._deadline(context),
                traceparent=traceparent_in(context),
                caller=caller,
                message_bytes=len(data),
            )
            # The transport holds the bytes until the call ends; nobody needs to hold the message as well.
            del message
        except SluiceError as error:
            self._router.door.unreadable(error.reason)
            self._spans.refused("Infer", context, error)
            await abort(context, error)
        try:
            request.traceparent, span = self._spans.begin("Infer", request.traceparent)
            if span is None:
                answer = await self._router.infer(request)
            else:
                with self._spans.recording(span, request) as record:
                    answer = await self._router.infer(request)
                    record(answer)
        except SluiceError as error:
            await abort(context, error)
        try:
            return checked(encode_response(answer, request.request_id), context.invocation_metadata)
        except SluiceError as error:
            await abort(context, error)

    async def infer_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Answer many texts over one call."""
        if self._router.draining:
            await abort(context, ShuttingDown("this router is shutting down"))
        limit, caller = limit_of(context.invocation_metadata()), self._router.callers.resolve(context)
        session = InferStreamHandler(self._router, self._spans, caller=caller, max_message_bytes=limit)
        self._streams.add(session)
        self._no_stream.clear()
        try:
            await session.run(requests, context.write)
        except SluiceError as error:
            await abort(context, error)
        finally:
            self._streams.discard(session)
            if not self._streams:
                self._no_stream.set()

    async def generate(self, data: bytes, context: Context) -> None:
        """Write one text out."""
        try:
            message = parse(inference_pb2.GenerateRequest, data, field="prompt")
            caller = self._router.callers.resolve(context)
            refusal = self._router.door.refusal(
                priority=priority_of(message),
                caller=caller,
                model=message.model,
                minimum_tier=message.minimum_tier,
                generates=True,
            )
            if refusal is not None:
                self._spans.refused("Generate", context, refusal)
                await refuse(context, refusal)
            request, sampling = generate_request_from_proto(
                message,
                deadline=self._deadline(context),
                traceparent=traceparent_in(context),
                caller=caller,
                message_bytes=len(data),
            )
            del message
        except SluiceError as error:
            self._router.door.unreadable(error.reason)
            self._spans.refused("Generate", context, error)
            await abort(context, error)
        try:
            limit = limit_of(context.invocation_metadata())
            await generate(self._router.texts, self._spans, request, sampling, context.write, max_message_bytes=limit)
        except SluiceError as error:
            await abort(context, error)

    def _deadline(self, context: Context) -> float:
        remaining_s = context.time_remaining()
        timeout_s = self._router.config.default_timeout_s if remaining_s is None else remaining_s
        return deadline_after(timeout_s, time.monotonic())

    def close_streams(self) -> None:
        """Let open streams finish what they have and end; used while draining."""
        for session in self._streams:
            session.close()

    async def all_streams_ended(self) -> None:
        """Return when no stream is open."""
        await self._no_stream.wait()


async def refuse(context: Context, refusal: Rejection) -> NoReturn:
    """End the call with `refusal`, in trailers alone: once headers have gone out, no client library tries it again."""
    await abort_with(context, refusal.code, refusal.message, refusal.trailers)
