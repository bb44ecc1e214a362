"""One InferStream: texts come in bundles, answers go out in bundles, and each text ends exactly once.

Reading stops while too many texts are open, so a client is slowed by its own stream's flow control and by nothing
else. When the client goes away every open text is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import cast

from opentelemetry.trace import Span

from services.router.admission.rejection import Rejection
from services.router.api.codec import encode_response, infer_request_from_proto, priority_of
from services.router.api.outcome_queue import OutcomeQueue
from services.router.observability.tracing import RequestSpans
from services.router.requests.caller import Caller
from services.router.requests.request import Outcome, PendingRequest, Request
from services.router.requests.validation import bounded_traceparent, check_conversation, deadline_after
from services.router.router import Router
from sluice.domain.errors import Cancelled, InvalidRequest, ShuttingDown, SluiceError
from sluice.domain.status import to_item_status
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES
from sluice.transport.message_handlers import parse
from sluice.v1 import inference_service_pb2 as inference_pb2

Write = Callable[[bytes], Awaitable[None]]


class InferStreamHandler:
    """The open texts of one stream, which `caller` sends, and the outcomes that wait to be written.

    No message has more than `max_message_bytes`; an answer that alone has more ends as AnswerTooLarge.
    """

    def __init__(
        self, router: Router, spans: RequestSpans, *, caller: Caller, max_message_bytes: int = DEFAULT_LIMIT_BYTES
    ) -> None:
        self._router = router
        self._spans = spans
        self._caller = caller
        self._default_timeout_s = router.config.default_timeout_s
        self._open: dict[int, tuple[PendingRequest, Span | None] | None] = {}
        self._outbox = OutcomeQueue(
            max_message_bytes=max_message_bytes, max_waiting_bytes=router.config.max_stream_bytes
        )
        self._has_outcome = asyncio.Event()
        self._has_room = asyncio.Event()
        self._closing = False
        self._error: SluiceError | None = None

    async def run(self, requests: AsyncIterator[bytes], write: Write) -> None:
        """Serve the stream until the client has half-closed and all is answered.

        Raises the SluiceError that ends the stream; outcomes at hand are written first.
        """
        reader = asyncio.get_running_loop().create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._has_outcome.set())
        try:
            while not reader.done() or self._open or self._outbox:
                await self._has_outcome.wait()
                self._has_outcome.clear()
                while self._outbox:
                    await write(self._outbox.next_message())
                    self._has_room.set()
                if self._error is not None or (self._closing and not self._open and not self._outbox):
                    break
            is_complete = reader.done() and not reader.cancelled()
            if is_complete:
                reader.result()
        finally:
            reader.cancel()
            self._abandon()
            await asyncio.gather(reader, return_exceptions=True)
        if self._error is not None:
            raise self._taken_error()
        if self._closing and not is_complete:
            raise ShuttingDown("this router is shutting down")

    def _taken_error(self) -> SluiceError:
        # Held on, it would hold this session by its traceback, and so itself.
        error, self._error = self._error, None
        return cast("SluiceError", error)

    def close(self) -> None:
        """End the stream when what is open has been answered."""
        self._closing = True
        self._has_outcome.set()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for data in requests:
                message = parse(inference_pb2.InferStreamRequest, data, field="text")
                for number in message.cancelled_ids:
                    self._cancel(number)
                # Of what they hold together each is charged the same.
                each = len(data) // max(1, len(message.items))
                may_reject = self._router.door.may_reject
                for item in message.items:
                    self._submit(item, each, may_reject=may_reject)
                # What is refused is answered at once, so a client that does not read could fill the outbox.
                while self._is_full():
                    self._has_room.clear()
                    await self._has_room.wait()
        except SluiceError as error:
            self._error = error

    def _is_full(self) -> bool:
        """Whether so much is open, or waits to be read, that nothing more is taken."""
        items = len(self._open) + len(self._outbox)
        return items >= self._router.config.max_stream_items or self._outbox.is_filling(len(self._open))

    def _submit(self, item: inference_pb2.InferStreamItem, message_bytes: int, *, may_reject: bool) -> None:
        number, asked = item.id, item.request
        if number in self._open:
            raise InvalidRequest(f"id {number} is already open on this stream", field="items.id")
        span = None
        try:
            refusal = self._refusal(asked) if may_reject else None
            if refusal is not None:
                self._spans.refused_item("InferStream", item.traceparent, refusal)
                self._refuse(number, refusal)
                return
            traceparent, span = self._spans.begin("InferStream", bounded_traceparent(item.traceparent))
            request = infer_request_from_proto(
                asked,
                deadline=self._deadline(item),
                traceparent=traceparent,
                caller=self._caller,
                message_bytes=message_bytes,
            )
        except SluiceError as error:
            self._router.door.unreadable(error.reason)
            if span is None:
                self._spans.refused_item("InferStream", item.traceparent, error)
            self._fail(number, span, error)
            return
        self._open[number] = None
        try:
            ticket = self._router.submit(request, partial(self._done, number, request, span))
        except SluiceError as error:
            self._fail(number, span, error)
        else:
            self._open[number] = ticket, span

    def _refusal(self, asked: inference_pb2.InferRequest) -> Rejection | None:
        check_conversation(asked.conversation_id)
        return self._router.door.refusal(
            priority=priority_of(asked),
            caller=self._caller,
            conversation=asked.conversation_id,
            model=asked.model,
            minimum_tier=asked.minimum_tier,
        )

    def _deadline(self, item: inference_pb2.InferStreamItem) -> float:
        if not item.HasField("timeout"):
            return time.monotonic() + self._default_timeout_s
        timeout = item.timeout
        return deadline_after(timeout.seconds + timeout.nanos * 1e-9, time.monotonic())

    def _done(self, number: int, request: Request, span: Span | None, outcome: Outcome) -> None:
        if isinstance(outcome, SluiceError):
            self._fail(number, span, outcome)
            return
        refused = self._outbox.put(number, encode_response(outcome, request.request_id))
        if refused is not None:
            self._fail(number, span, refused)
            return
        if span is not None:
            self._spans.answer(span, request, outcome)
        self._ended(number)

    def _fail(self, number: int, span: Span | None, error: SluiceError) -> None:
        self._outbox.put_status(number, to_item_status(error))
        if span is not None:
            self._spans.fail(span, error)
        self._ended(number)

    def _refuse(self, number: int, refusal: Rejection) -> None:
        self._outbox.put_status(number, refusal.item_status)
        self._has_outcome.set()

    def _ended(self, number: int) -> None:
        self._open.pop(number, None)
        self._has_outcome.set()
        self._has_room.set()

    def _cancel(self, number: int) -> None:
        held = self._open.get(number)
        if held is not None:
            ticket, span = held
            self._router.cancel(ticket)
            self._fail(number, span, Cancelled("the client cancelled it"))

    def _abandon(self) -> None:
        for held in self._open.values():
            if held is not None:
                ticket, span = held
                self._router.cancel(ticket)
                if span is not None:
                    self._spans.cancelled(span)
        self._open.clear()
