"""The router's end of one worker: a channel, the Execute stream on it, its credits and its open batches.

The link is either up (a Welcome has come) or down. When it goes down every credit and open batch is void, which its
owner learns in one call; then it dials again, at once at first and ever more slowly.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from services.router.queueing.batch import InFlightBatch
from services.router.requests.device_pool import DevicePool, pool_of
from services.router.requests.generation import PendingGeneration
from services.router.workers.codec import batch_to_proto, generation_to_proto
from services.router.workers.generation_usage import GenerationUsage
from services.router.workers.latency_model import WorkerLatencyModel
from services.router.workers.listener import WorkerListener
from services.router.workers.lone_try import Reservation
from services.router.workers.message_validation import (
    AnswerShape,
    MessageBudget,
    ProtocolError,
    check_credit,
    check_pieces,
    check_result,
    read_response,
    read_welcome,
    shape_of,
)
from services.router.workers.outlier_detection import WorkerHealth
from services.router.workers.redial import Redial
from sluice.control.identity import DEFAULT_MESH, MESH_METADATA, MESH_VARIABLE, mesh_named
from sluice.domain.enums import Task
from sluice.domain.status import seconds_of
from sluice.domain.variant import Variant, VariantState
from sluice.runtime.channel import peer_channel
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES, MAX_BYTES, MAX_MESSAGE_KEY, limit_for
from sluice.v1 import worker_service_pb2 as worker_pb2

EXECUTE = "/sluice.v1.WorkerService/Execute"
DEFAULT_MAX_REDIAL_S = 30.0

Outbox = asyncio.Queue[worker_pb2.ExecuteRequest | None]

# The most ids in one message that cancels.
MOST_CANCELLED = 4_096
# The most characters of a mesh's name and of a boot id.
MOST_NAME = 128

logger = logging.getLogger(__name__)


class WorkerClient:
    """One worker, as far as the router is concerned."""

    def __init__(
        self,
        address: str,
        owner: WorkerListener,
        *,
        clock: Callable[[], float],
        max_redial_s: float = DEFAULT_MAX_REDIAL_S,
        mesh: str = DEFAULT_MESH,
    ) -> None:
        self.address = address
        self.worker = address
        self.up = False
        self.tried = False
        self.draining = False
        self.boot = ""
        # Set by the pool while the worker is to get nothing new, or gets it over another link.
        self.resting = False
        self.variants: dict[str, Variant] = {}
        self.known_variants: dict[str, Variant] = {}
        self.credits = 0
        self.max_items = 0
        self.max_tokens = 0
        self.max_message_bytes = DEFAULT_LIMIT_BYTES
        self.compute_s = 0.0
        self.open: dict[int, InFlightBatch] = {}
        self.texts = GenerationUsage()
        self.pool = DevicePool.CPU
        self.times = WorkerLatencyModel()
        self.conduct = WorkerHealth()
        self.reservation = Reservation()
        self.last_message_at = clock()
        self.last_sent_at = float("-inf")
        self._answered_at = float("-inf")
        self._mesh = mesh
        self._is_foreign = False
        self._owner = owner
        self._clock = clock
        self._numbers = itertools.count(1)
        self._outbox: Outbox = asyncio.Queue()
        self._cancelling: worker_pb2.ExecuteRequest | None = None
        self._shapes: dict[str, AnswerShape] = {}
        self._budget = MessageBudget()
        self._redial = Redial(max_refused_s=max_redial_s)

    @property
    def can_accept(self) -> bool:
        """Whether a batch may be sent now."""
        if self.credits <= 0 or self.draining or self.resting or self.is_set_apart:
            return False
        conduct = self.conduct
        return not conduct.is_out(self._clock()) and not (conduct.probing and self.open)

    @property
    def is_free(self) -> bool:
        """Whether nothing of this router's is open there."""
        return not self.open and not self.texts.open

    @property
    def is_set_apart(self) -> bool:
        """Whether a suspect is tried there alone, or waits for it to come free."""
        if self.texts.lone is not None or any(batch.alone for batch in self.open.values()):
            return True
        return self.reservation.is_held(self._clock()) and not self.is_free

    @property
    def is_serving(self) -> bool:
        """Whether it is connected and takes work."""
        return self.up and not self.draining and not self.resting

    def can_generate(self, now: float) -> bool:
        """Whether a text may be sent, for which it has given a credit."""
        ready = self.texts.credits > 0 and self.is_serving and not self.conduct.is_out(now)
        return ready and not self.is_set_apart

    @property
    def held(self) -> Iterable[Variant]:
        """The variants that serve, whatever they do with a text."""
        return (*self.variants.values(), *self.texts.variants.values())

    @property
    def begun_at(self) -> float:
        """When its oldest open batch was begun, at the earliest; infinity when there is none."""
        oldest = next(iter(self.open.values()), None)
        return max(oldest.sent_at, self._answered_at) if oldest is not None else float("inf")

    def next_number(self) -> int:
        """An id for the next batch on this link."""
        return next(self._numbers)

    def send(self, batch: InFlightBatch, traceparent: str) -> None:
        """Spend a credit on `batch`. The outbox is bounded by the credits that the worker gave."""
        now = self._clock()
        self.credits -= 1
        self.open[batch.id] = batch
        self.last_sent_at = now
        self._put(worker_pb2.ExecuteRequest(batch=batch_to_proto(batch, traceparent, now)))

    def send_generation(self, ticket: PendingGeneration, variant_id: str) -> None:
        """Spend a credit for texts on `ticket`."""
        self.texts.send(ticket)
        ticket.writer, ticket.worker = self.known_variants[variant_id], self.worker
        generation = generation_to_proto(ticket, variant_id, self._clock())
        self._put(worker_pb2.ExecuteRequest(generation=generation))

    def cancel(self, items: Iterable[int]) -> None:
        """Tell the worker that nobody waits any more for the tickets that had these ids when they were sent.

        One message has all that are cancelled between two others: work must not wait behind one for each.
        """
        if not self.up:
            return
        request = self._cancelling
        if request is None or len(request.cancel.ids) >= MOST_CANCELLED:
            request = worker_pb2.ExecuteRequest(cancel=worker_pb2.CancelItems())
            self._put(request)
            self._cancelling = request
        request.cancel.ids.extend(items)

    def _put(self, request: worker_pb2.ExecuteRequest) -> None:
        # What is cancelled from now on may have been sent by this message, and must come behind it.
        self._cancelling = None
        self._outbox.put_nowait(request)

    async def _requests(self, outbox: Outbox) -> AsyncIterator[worker_pb2.ExecuteRequest]:
        while (request := await outbox.get()) is not None:
            if request is self._cancelling:
                self._cancelling = None
            yield request

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        async with peer_channel(self.address) as channel:
            # Bytes stay bytes until we read them: gRPC logs a traceback for each message that it cannot.
            execute: Any = channel.stream_stream(  # type: ignore[call-arg]
                EXECUTE, request_serializer=worker_pb2.ExecuteRequest.SerializeToString
            )
            while True:
                begun_at = self._clock()
                was_up, why, refused = await self._one_stream(execute)
                extra = {"worker": self.worker, "address": self.address, "why": why}
                if refused:
                    logger.warning("a worker's stream is ended, because it breaks the contract", extra=extra)
                elif was_up:
                    logger.warning("worker lost", extra=extra)
                delay_s = self._redial.after(was_up=was_up, refused=refused, lasted_s=self._clock() - begun_at)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  jitter

    async def _one_stream(self, execute: Any) -> tuple[bool, str, bool]:
        """Returns whether it was up, why it ended, and whether for what the worker said."""
        outbox: Outbox = asyncio.Queue()
        self._outbox, self._cancelling = outbox, None
        call = execute(
            self._requests(outbox), metadata=((MESH_METADATA, self._mesh), (MAX_MESSAGE_KEY, str(MAX_BYTES)))
        )
        why, refused = "the worker ended the stream", False
        try:
            async for data in call:
                self._accept(read_response(data))
        except grpc.aio.AioRpcError as error:
            why = f"{error.code().name}: {error.details()}"
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                self._found_foreign(why)
        except ProtocolError as error:
            why, refused = str(error), True
        except Exception as error:
            # No surprise may end the link for good: the worker is dialled again, as slowly as one that lies.
            logger.exception("the link failed", extra={"worker": self.worker, "address": self.address})
            why, refused = f"{type(error).__name__}: {error}", True
        finally:
            call.cancel()
            # grpc.aio leaves a call's request iterator waiting when the call ends by itself.
            outbox.put_nowait(None)
            said = (*self.held, *self.known_variants.values())
            was_up = self._go_down(why)
            if refused:
                self.times, self.pool = WorkerLatencyModel(), DevicePool.CPU
                self._owner.on_worker_refused(self, said)
        return was_up, why, refused

    def _go_down(self, why: str) -> bool:
        was_up, self.up = self.up, False
        lost, self.open = list(self.open.values()), {}
        lost_texts = self.texts.void()
        self.credits, self.variants, self.known_variants, self._shapes = 0, {}, {}, {}
        self.max_items, self.max_tokens, self.draining = 0, 0, False
        self.conduct.reconnected()
        self.reservation.forget()
        first, self.tried = not self.tried, True
        if was_up or first:
            self._owner.on_worker_changed(self)
        if lost:
            self._owner.on_worker_lost(self, lost, why)
        if lost_texts:
            self._owner.texts.lost(lost_texts, why)
        return was_up

    def _accept(self, response: worker_pb2.ExecuteResponse) -> None:
        self.last_message_at = self._clock()
        # Everything is checked before anything is done about it.
        variants = self._check(response)
        if variants is not None:
            self._welcome(response.welcome, variants)
        credit = response.credit
        if credit.max_items:
            self.max_items, self.max_tokens = credit.max_items, credit.max_tokens
        self.credits += credit.batches
        self.texts.credits += credit.generations
        if response.HasField("result"):
            self._settle(response.result)
        if response.pieces:
            self._owner.texts.wrote(self, response.pieces)
        if credit.generations or variants is not None:
            self._owner.texts.on_credit()
        # What is only written, many times a second, is no reason to look for batches.
        if credit.batches or not response.pieces:
            self._owner.on_worker_credit(self)

    def _check(self, response: worker_pb2.ExecuteResponse) -> tuple[Variant, ...] | None:
        """The variants of the card, if there is one. Raises ProtocolError."""
        if not response.HasField("result") and not response.pieces:
            self._budget.spend(self.last_message_at)
        variants = read_welcome(response.welcome) if response.HasField("welcome") else None
        if variants is not None:
            self._check_mesh(response.welcome)
        if variants is None and not self.up:
            raise ProtocolError("welcome", "the first message brings none")
        check_credit(response.credit, batches=self.credits, generations=self.texts.credits)
        if response.HasField("result"):
            check_result(response.result, self.open, self._shapes)
        if response.pieces:
            for number, size in check_pieces(response.pieces, self.texts.open).items():
                self.texts.open[number].received_bytes = size
        return variants

    def _found_foreign(self, why: str) -> None:
        if not self._is_foreign:
            extra = {"address": self.address, "why": why, "what_to_do": f"see {MESH_VARIABLE} and `router.workers`"}
            logger.error("A worker belongs to another mesh and is not used.", extra=extra)
        self._is_foreign = True

    def _check_mesh(self, welcome: worker_pb2.Welcome) -> None:
        theirs = mesh_named(welcome.mesh)
        if theirs != self._mesh:
            why = f"the worker belongs to mesh '{theirs[:MOST_NAME]}', and this router to mesh '{self._mesh}'"
            self._found_foreign(why)
            raise ProtocolError("welcome.mesh", why)
        if len(welcome.boot) > MOST_NAME:
            raise ProtocolError("welcome.boot", f"it may have {MOST_NAME} characters")

    def _welcome(self, welcome: worker_pb2.Welcome, variants: Iterable[Variant]) -> None:
        if not self.up:
            logger.info("worker up", extra={"worker": welcome.worker, "address": self.address})
            if self._redial.on_probation:
                self.conduct.probe()
            if welcome.worker != self.worker:
                self.times = WorkerLatencyModel()
        self.up = self.tried = True
        self._is_foreign = False
        self.worker, self.boot = welcome.worker, welcome.boot
        self.draining = welcome.draining
        self.max_message_bytes = limit_for(welcome.max_message_bytes)
        ready = [variant for variant in variants if variant.state is VariantState.READY]
        self.variants = {one.id: one for one in ready if one.task is not Task.TEXT_GENERATION}
        self.texts.variants = {one.id: one for one in ready if one.task is Task.TEXT_GENERATION}
        self._describe({variant.id: variant for variant in variants})
        self.pool = pool_of(variants, before=self.pool)
        self._owner.on_worker_changed(self)

    def _describe(self, cards: dict[str, Variant]) -> None:
        """Know `cards`, and those that have left the list while a batch or generation is still to be answered."""
        used = {batch.variant_id for batch in self.open.values()}
        used |= {ticket.writer.id for ticket in self.texts.open.values() if ticket.writer is not None}
        kept = {name: card for name, card in self.known_variants.items() if name in used and name not in cards}
        self.known_variants = kept | cards
        shapes = {name: shape_of(card) for name, card in self.known_variants.items()}
        for name, shape in shapes.items():
            known = self._shapes.get(name)
            if known is not None and (known.task, known.labels) == (shape.task, shape.labels):
                shapes[name] = known
        self._shapes = shapes
        self.times.describe(self.known_variants.values())

    def _settle(self, result: worker_pb2.BatchResult) -> None:
        batch = self.open.pop(result.batch_id)
        begun_at, self._answered_at = max(batch.sent_at, self._answered_at), self.last_message_at
        # No device takes longer than we have waited.
        self.compute_s = min(seconds_of(result.compute), max(0.0, self.last_message_at - batch.sent_at))
        if self.conduct.timing_is_valid:
            self._learn(batch, result, self.last_message_at - begun_at)
        self.conduct.answered(self.last_message_at)
        self._owner.on_worker_result(self, batch, result, self.compute_s)

    def _learn(self, batch: InFlightBatch, result: worker_pb2.BatchResult, elapsed_s: float) -> None:
        # What had expired or was cancelled was not computed.
        left_out = sum(batch.tickets[item.id].tokens for item in result.results if item.HasField("status"))
        if left_out < batch.tokens:
            self.times.learn(
                batch.variant_id,
                tokens=batch.tokens - left_out,
                # A worker that does not say how long it took took no longer than we have waited.
                compute_s=self.compute_s or elapsed_s,
                elapsed_s=elapsed_s,
                now=self.last_message_at,
            )
