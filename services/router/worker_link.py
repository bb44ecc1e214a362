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

import grpc

from services.router.batch import OpenBatch
from services.router.batch_wire import to_proto
from services.router.ejection import Conduct
from services.router.generation import wire
from services.router.generation.text_account import TextAccount
from services.router.generation.text_ticket import TextTicket
from services.router.link_owner import LinkOwner
from services.router.pools import Pool, pool_of
from services.router.worker_times import WorkerTimes
from sluice.channel import peer_channel
from sluice.status import seconds_of
from sluice.tier import Task
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.v1 import worker_service_pb2_grpc as worker_grpc
from sluice.variant import Variant, VariantState, from_proto

FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 1.0

Outbox = asyncio.Queue[worker_pb2.ExecuteRequest | None]

logger = logging.getLogger(__name__)


class _BrokenPromise(Exception):
    """The worker broke the contract of Execute."""


class WorkerLink:
    """One worker, as far as the router is concerned."""

    def __init__(self, address: str, owner: LinkOwner, *, clock: Callable[[], float]) -> None:
        self.address = address
        self.worker = address
        self.up = False
        self.tried = False
        self.draining = False
        self.variants: dict[str, Variant] = {}
        self.described: dict[str, Variant] = {}
        self.credits = 0
        self.max_items = 0
        self.max_tokens = 0
        self.compute_s = 0.0
        self.open: dict[int, OpenBatch] = {}
        self.texts = TextAccount()
        self.pool = Pool.CPU
        self.times = WorkerTimes()
        self.conduct = Conduct()
        self.heard_at = clock()
        self._answered_at = float("-inf")
        self._owner = owner
        self._clock = clock
        self._numbers = itertools.count(1)
        self._outbox: Outbox = asyncio.Queue()

    @property
    def may_take(self) -> bool:
        """Whether a batch may be sent now."""
        if self.credits <= 0 or self.draining or any(batch.alone for batch in self.open.values()):
            return False
        conduct = self.conduct
        return not conduct.is_out(self._clock()) and not (conduct.probing and self.open)

    @property
    def is_serving(self) -> bool:
        """Whether it is connected and takes work."""
        return self.up and not self.draining

    def takes_texts(self, now: float) -> bool:
        """Whether a text may be sent, for which it has given a credit."""
        return self.texts.credits > 0 and self.is_serving and not self.conduct.is_out(now)

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

    def send(self, batch: OpenBatch, traceparent: str) -> None:
        """Spend a credit on `batch`. The outbox is bounded by the credits that the worker gave."""
        self.credits -= 1
        self.open[batch.id] = batch
        self._outbox.put_nowait(worker_pb2.ExecuteRequest(batch=to_proto(batch, traceparent, self._clock())))

    def send_text(self, ticket: TextTicket, variant_id: str) -> None:
        """Spend a credit for texts on `ticket`."""
        self.texts.send(ticket)
        ticket.writer, ticket.worker = self.described[variant_id], self.worker
        generation = wire.to_proto(ticket, variant_id, self._clock())
        self._outbox.put_nowait(worker_pb2.ExecuteRequest(generation=generation))

    def cancel(self, items: Iterable[int]) -> None:
        """Tell the worker that nobody waits any more for the tickets that had these ids when they were sent."""
        if self.up:
            self._outbox.put_nowait(worker_pb2.ExecuteRequest(cancel=worker_pb2.CancelItems(ids=items)))

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        async with peer_channel(self.address) as channel:
            stub = worker_grpc.WorkerServiceStub(channel)
            backoff_s = FIRST_BACKOFF_S
            while True:
                was_up, why = await self._one_stream(stub)
                backoff_s = FIRST_BACKOFF_S if was_up else min(MAX_BACKOFF_S, backoff_s * 2)
                if was_up:
                    logger.warning("worker lost", extra={"worker": self.worker, "address": self.address, "why": why})
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311  jitter

    async def _one_stream(self, stub: worker_grpc.WorkerServiceStub) -> tuple[bool, str]:
        outbox: Outbox = asyncio.Queue()
        self._outbox = outbox
        call = stub.Execute(_until_none(outbox))
        why = "the worker ended the stream"
        try:
            async for response in call:
                self._accept(response)
        except grpc.aio.AioRpcError as error:
            why = f"{error.code().name}: {error.details()}"
        except _BrokenPromise as error:
            why = str(error)
        except Exception as error:
            # No surprise may end the link for good: the worker is dialled again.
            logger.exception("the link failed", extra={"worker": self.worker, "address": self.address})
            why = f"{type(error).__name__}: {error}"
        finally:
            call.cancel()
            # grpc.aio leaves a call's request iterator waiting when the call ends by itself.
            outbox.put_nowait(None)
            was_up = self._go_down(why)
        return was_up, why

    def _go_down(self, why: str) -> bool:
        was_up, self.up = self.up, False
        lost, self.open = list(self.open.values()), {}
        lost_texts = self.texts.void()
        self.credits, self.variants, self.described = 0, {}, {}
        self.conduct.reconnected()
        first, self.tried = not self.tried, True
        if was_up or first:
            self._owner.link_changed(self)
        if lost:
            self._owner.link_lost(self, lost, why)
        if lost_texts:
            self._owner.texts.lost(lost_texts, why)
        return was_up

    def _accept(self, response: worker_pb2.ExecuteResponse) -> None:
        self.heard_at = self._clock()
        if response.HasField("welcome"):
            self._welcome(response.welcome)
        elif not self.up:
            raise _BrokenPromise("the worker's first message was no welcome")
        credit = response.credit
        if credit.max_items:
            self.max_items, self.max_tokens = credit.max_items, credit.max_tokens
        self.credits += credit.batches
        self.texts.credits += credit.generations
        if response.HasField("result"):
            self._settle(response.result)
        if response.pieces:
            self._hear(response.pieces)
        if credit.generations or response.HasField("welcome"):
            self._owner.texts.credit_came()
        # What is only written, many times a second, is no reason to look for batches.
        if credit.batches or not response.pieces:
            self._owner.link_has_credit(self)

    def _welcome(self, welcome: worker_pb2.Welcome) -> None:
        try:
            variants = [from_proto(variant) for variant in welcome.variants]
        except ValueError as error:
            raise _BrokenPromise(f"the worker describes what this router does not know: {error}") from error
        if not self.up:
            logger.info("worker up", extra={"worker": welcome.worker, "address": self.address})
        self.up = self.tried = True
        self.worker = welcome.worker
        self.draining = welcome.draining
        ready = [variant for variant in variants if variant.state is VariantState.READY]
        self.variants = {one.id: one for one in ready if one.task is not Task.TEXT_GENERATION}
        self.texts.variants = {one.id: one for one in ready if one.task is Task.TEXT_GENERATION}
        # A batch may be answered after its variant has left the list.
        self.described |= {variant.id: variant for variant in variants}
        self.times.describe(variants)
        self.pool = pool_of(variants, before=self.pool)
        self._owner.link_changed(self)

    def _hear(self, pieces: Iterable[worker_pb2.GenerationPiece]) -> None:
        unknown = next((piece.id for piece in pieces if piece.id not in self.texts.open), None)
        if unknown is not None:
            raise _BrokenPromise(f"the worker writes text {unknown}, which is not open")
        self._owner.texts.wrote(self, pieces)

    def _settle(self, result: worker_pb2.BatchResult) -> None:
        batch = self.open.get(result.batch_id)
        if batch is None:
            raise _BrokenPromise(f"the worker answered batch {result.batch_id}, which is not open")
        answered = [item.id for item in result.results]
        if len(answered) != len(batch.tickets) or batch.tickets.keys() != set(answered):
            raise _BrokenPromise(f"the worker's answer to batch {batch.id} does not name its items")
        begun_at, self._answered_at = max(batch.sent_at, self._answered_at), self.heard_at
        del self.open[batch.id]
        self.compute_s = seconds_of(result.compute)
        if self.conduct.is_telling:
            self._learn(batch, result, self.heard_at - begun_at)
        self.conduct.answered(self.heard_at)
        self._owner.link_answered(self, batch, result, self.compute_s)

    def _learn(self, batch: OpenBatch, result: worker_pb2.BatchResult, elapsed_s: float) -> None:
        # What had expired or was cancelled was not computed.
        left_out = sum(batch.tickets[item.id].tokens for item in result.results if item.HasField("status"))
        if left_out < batch.tokens:
            self.times.learn(
                batch.variant_id,
                tokens=batch.tokens - left_out,
                # A worker that does not say how long it took took no longer than we have waited.
                compute_s=self.compute_s or elapsed_s,
                elapsed_s=elapsed_s,
                now=self.heard_at,
            )


async def _until_none(outbox: Outbox) -> AsyncIterator[worker_pb2.ExecuteRequest]:
    while (request := await outbox.get()) is not None:
        yield request
