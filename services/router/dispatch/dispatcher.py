"""The dispatcher: queues on one side, workers' credits on the other, and batches formed when both meet.

It holds the only queues of the mesh, those of texts too, which `GenerationDispatcher` sends. Whatever may let
a batch go (a request, a credit, a linger that ends) only schedules one look at everything, so that all that comes until
then shares a batch: at the end of the loop's turn, or, while requests come thick and fast, a moment later, because a
message costs the router more than an item in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from services.router.dispatch.batching_policy import (
    ArrivalRate,
    PeakInFlight,
    choose_queue,
    count_skips,
    max_batch_s,
    should_wait_for_batch,
)
from services.router.observability.tracing import start_batch_span
from services.router.queueing import batch as batches
from services.router.queueing.batch import BatchLimits, InFlightBatch
from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import DevicePool
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import PendingRequest, RequestState
from services.router.workers.client import WorkerClient
from services.router.workers.codec import size_of
from services.router.workers.lone_try import HOLD_S
from sluice.runtime.tracing import Tracing, traceparent_of

# The dispatcher of texts: what waits to be written on one side, workers' credits for texts on the other.
#
# The queues are those of the mesh's one dispatcher, and their order is the same: hot before cold, then the earliest
# deadline. A text goes to the idlest worker that has given a credit, as soon as there is one. A suspect goes alone, to
# a worker that is free of other work; while there is none, the idlest is kept from new work for a moment.


class GenerationDispatcher:
    """Sends what waits to who can take it. `ages` says whether cold texts have their share of places beside hot.

    `on_kept` is called when a worker has been kept from new work for as long as it may. `too_large` ends a ticket that
    is more than the bytes that its worker takes.
    """

    def __init__(
        self,
        *,
        queues: Mapping[str, VariantQueue],
        links: Callable[[], Iterable[WorkerClient]],
        ages: Callable[[], bool],
        on_sent: Callable[[], None],
        on_kept: Callable[[], None],
        too_large: Callable[[PendingRequest, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._queues = queues
        self._links = links
        self._ages = ages
        self._on_sent = on_sent
        self._on_kept = on_kept
        self._too_large = too_large
        self._clock = clock
        self._next_look: asyncio.Handle | None = None

    def look(self) -> None:
        """Look at everything at the end of this turn of the loop, so that what comes until then keeps its order."""
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_soon(self._dispatch_all)

    def _dispatch_all(self) -> None:
        self._next_look = None
        now = self._clock()
        self._try_suspects(now)
        takers = [link for link in self._links() if link.texts.credits > 0 and link.can_generate(now)]
        while takers:
            queue = self._most_urgent(takers)
            if queue is None:
                return
            ticket = queue.pop(ages=self._ages())
            if isinstance(ticket, PendingGeneration):
                self._send(ticket, least_loaded(takers, queue.variant_id), queue.variant_id, now)
                takers = [link for link in takers if link.texts.credits > 0]

    def _try_suspects(self, now: float) -> None:
        for queue in list(self._queues.values()):
            while queue.suspects and isinstance(queue.suspects[0], PendingGeneration):
                failed = queue.suspects[0].worker
                link = self._free_worker(queue.variant_id, failed, now)
                ticket = queue.pop_suspect() if link is not None else None
                if link is None or not isinstance(ticket, PendingGeneration):
                    break
                link.reservation.release()
                self._send(ticket, link, queue.variant_id, now)

    def _free_worker(self, variant_id: str, failed: str, now: float) -> WorkerClient | None:
        """A worker that does nothing else, `failed` last. While there is none, and nobody is tried, one runs dry."""
        able = [link for link in self._links() if variant_id in link.texts.variants and link.is_serving]
        able = [link for link in able if not link.conduct.is_out(now)]
        able.sort(key=lambda link: link.worker == failed)
        free = next((link for link in able if link.is_free and link.can_generate(now)), None)
        if free is None and able and not any(link.is_set_apart for link in able):
            least_loaded = min(able, key=lambda link: len(link.texts.open) + len(link.open))
            if least_loaded.reservation.hold(now):
                asyncio.get_running_loop().call_later(HOLD_S, self._on_kept)
        return free

    def _most_urgent(self, takers: Iterable[WorkerClient]) -> VariantQueue | None:
        names = {name for link in takers for name in link.texts.variants}
        queues = [self._queues[name] for name in names if name in self._queues]
        heads = [(head, queue.variant_id) for queue in queues if (head := queue.head(suspects=False)) is not None]
        return self._queues[min(heads)[1]] if heads else None

    def _send(self, ticket: PendingGeneration, link: WorkerClient, variant_id: str, now: float) -> None:
        ticket.state = RequestState.DISPATCHED
        if size_of(ticket) > link.max_message_bytes:
            self._too_large(ticket, link.max_message_bytes)
            return
        ticket.dispatched_at = now
        ticket.attempts += 1
        if ticket.attempts == 1:
            self._on_sent()
        link.send_generation(ticket, variant_id)


def least_loaded(links: Iterable[WorkerClient], variant_id: str) -> WorkerClient:
    """The link that writes with the variant and has the fewest texts: first of all, the fewest that wait for memory."""
    able = [link for link in links if variant_id in link.texts.variants]
    return min(able, key=lambda link: (link.texts.waiting_for_kv, len(link.texts.open)))


class Dispatcher:
    """Sends what waits to who can take it.

    `ages` says whether cold work has its share of places beside hot work; `sizes` whether a batch ends where more items
    would only make it longer. `too_large` ends a ticket that alone is more than the bytes that its worker takes.
    """

    def __init__(
        self,
        *,
        max_batch_size: int,
        batch_timeout_s: float,
        gather_s: float,
        open_requests: Callable[[], int],
        links: Callable[[], Iterable[WorkerClient]],
        ages: Callable[[], bool],
        sizes: bool,
        on_sent: Callable[[InFlightBatch], None],
        too_large: Callable[[PendingRequest, int], None],
        tracing: Tracing,
        clock: Callable[[], float],
    ) -> None:
        self.queues: dict[str, VariantQueue] = {}
        self._max_batch_size = max_batch_size
        self._batch_timeout_s = batch_timeout_s
        self._gather_s = gather_s
        self._open_requests = open_requests
        self._gathers = False
        self.links = links
        self.ages = ages
        self._sizes = sizes
        self._on_sent = on_sent
        self._too_large = too_large
        self._tracing = tracing
        self._clock = clock
        self._rate = ArrivalRate()
        self._crowd = PeakInFlight()
        self._hot_at = float("-inf")
        self._next_look: asyncio.Handle | None = None
        self._at_once = False
        self._timer: asyncio.TimerHandle | None = None

    def enqueue(self, ticket: PendingRequest, variant_id: str) -> None:
        """Let `ticket` wait for `variant_id`."""
        queue, now = self.queues.get(variant_id), ticket.enqueued_at
        (queue if queue is not None else self.queue(variant_id)).push(ticket)
        rate = self._rate.count(now)
        crowd = self._crowd.count(self._open_requests(), now)
        self._gathers = should_wait_for_batch(rate, crowd, self._gather_s)
        if ticket.hot:
            self._hot_at = now
        at_once = ticket.hot or not self._gathers
        if self._next_look is None or (at_once and not self._at_once):
            self.look(at_once=at_once)

    def on_credit(self, link: WorkerClient) -> None:
        """`link` can take a batch. A device slower than a gathering must not be kept waiting for one."""
        self.look(at_once=not self._gathers or link.compute_s >= self._gather_s)

    def queue(self, variant_id: str) -> VariantQueue:
        """The queue of a variant, made when it is first asked for."""
        found = self.queues.get(variant_id)
        if found is None:
            found = self.queues[variant_id] = VariantQueue(variant_id)
        return found

    def leave(self, ticket: PendingRequest) -> None:
        """Take a waiting ticket out of its queue."""
        self.queues[ticket.variant_id].discard(ticket)

    def stranded(self, served: Iterable[str]) -> list[PendingRequest]:
        """Empty, and forget, the queues of variants that nobody serves; the tickets want a new place."""
        gone = self.queues.keys() - set(served)
        return [ticket for variant_id in gone for ticket in self.queues.pop(variant_id).take_all()]

    def waiting(self) -> tuple[int, int]:
        """How many hot and how many cold requests wait."""
        queues = self.queues.values()
        return sum(queue.hot.items for queue in queues), sum(queue.cold.items for queue in queues)

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits, suspects included."""
        return any(len(queue) for queue in self.queues.values())

    def queued_by(self, caller: str, *, variant_id: str, hot: bool) -> tuple[float, int]:
        """What admission counted for what a caller has waiting, in seconds of a device; and how many callers wait."""
        queue = self.queues.get(variant_id)
        return (queue.cost_of(caller, hot=hot), queue.callers(hot=hot)) if queue is not None else (0.0, 0)

    def look(self, *, at_once: bool) -> None:
        """Look for batches to form: at the end of this turn of the loop, or when company has had time to come."""
        if self._next_look is not None:
            if self._at_once or not at_once:
                return
            self._next_look.cancel()
        loop = asyncio.get_running_loop()
        self._at_once = at_once
        if at_once:
            self._next_look = loop.call_soon(self._dispatch_all)
        else:
            self._next_look = loop.call_later(self._gather_s, self._dispatch_all)

    def _dispatch_all(self) -> None:
        self._next_look = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        takers = [link for link in self.links() if link.can_accept]
        # The idlest first: an idle device is never left beside a busy one that prefetches. Of those, the pool that the
        # most urgent work belongs to; of that, the one that was sent nothing for longest, so that all are used.
        is_hot = any(self.queues[name].hot.items for link in takers for name in link.variants if name in self.queues)
        home = DevicePool.ACCELERATOR if is_hot else DevicePool.CPU
        takers.sort(key=lambda link: (len(link.open), link.pool is not home, link.last_sent_at))
        look_again_at = min((self._serve(link) for link in takers), default=float("inf"))
        look_again_at = min(look_again_at, self._hold_for_suspects())
        if look_again_at < float("inf"):
            delay_s = max(0.0, look_again_at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._dispatch_all)

    def _serve(self, link: WorkerClient) -> float:
        """Give `link` what it may have; returns when to look again."""
        while link.can_accept:
            now = self._clock()
            queues = [self.queues[name] for name in link.variants if name in self.queues]
            limit = min(self._max_batch_size, link.max_items)
            ages = self.ages()
            choice = choose_queue(
                queues,
                idle=not link.open,
                max_items=limit,
                batch_timeout_s=self._batch_timeout_s,
                ages=ages,
                now=now,
                writes=bool(link.texts.open),
            )
            if choice.queue is None:
                return choice.look_again_at
            count_skips(queues, choice.queue)
            limits = self._limits(link, choice.queue, limit, now)
            number, is_free = link.next_number(), link.is_free
            batch = batches.form_batch(choice.queue, limits, number=number, ages=ages, now=now, is_free=is_free)
            if batch is None:
                continue
            if batch.size <= link.max_message_bytes:
                self._send(link, batch)
                continue
            for ticket in batch.tickets.values():
                self._too_large(ticket, link.max_message_bytes)
        return float("inf")

    def _hold_for_suspects(self) -> float:
        """Where only texts keep suspects from a worker, let the one with the fewest run dry; returns when to look."""
        look_again_at = float("inf")
        now = self._clock()
        for queue in self.queues.values():
            if not queue.suspects:
                continue
            able = [link for link in self.links() if link.is_serving and queue.variant_id in link.variants]
            if able and all(link.texts.open for link in able):
                least_loaded = min(able, key=lambda link: len(link.texts.open))
                least_loaded.reservation.hold(now)
                look_again_at = now + HOLD_S
        return look_again_at

    def _limits(self, link: WorkerClient, queue: VariantQueue, max_items: int, now: float) -> BatchLimits:
        if link.conduct.probing:
            return BatchLimits(max_items=1, max_bytes=link.max_message_bytes)
        name = queue.variant_id
        items = min(max_items, link.variants[name].max_batch_size)
        efficient_batch_tokens = self._worth_tokens(link, queue, items, now) if self._sizes else 0.0
        return BatchLimits(
            max_items=items,
            max_tokens=link.max_tokens,
            efficient_batch_tokens=efficient_batch_tokens,
            max_bytes=link.max_message_bytes,
        )

    def _worth_tokens(self, link: WorkerClient, queue: VariantQueue, items: int, now: float) -> float:
        _, deadline = queue.head() or (True, now)
        enough_s = max_batch_s(slack_s=deadline - now, since_hot_s=now - self._hot_at)
        return link.times.efficient_batch_tokens(
            queue.variant_id, queue.tokens_each, items, now, long_enough_s=enough_s
        )

    def _send(self, link: WorkerClient, batch: InFlightBatch) -> None:
        if self._tracing.enabled:
            batch.span = start_batch_span(self._tracing, batch, link.worker)
        link.send(batch, traceparent_of(batch.span) if batch.span else "")
        self._on_sent(batch)
