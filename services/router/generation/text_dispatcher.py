"""The dispatcher of texts: what waits to be written on one side, workers' credits for texts on the other.

The queues are those of the mesh's one dispatcher, and their order is the same: hot before cold, then the earliest
deadline. A text goes to the idlest worker that has given a credit, as soon as there is one. A suspect goes alone, to a
worker that is free of other work; while there is none, the idlest is kept from new work for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from services.router.generation.wire import size_of
from services.router.queueing.queue import VariantQueue
from services.router.requests.generation import TextTicket
from services.router.requests.request import Ticket, TicketState
from services.router.workers.client import WorkerLink
from services.router.workers.lone_try import HOLD_S


class TextDispatcher:
    """Sends what waits to who can take it. `ages` says whether cold texts have their share of places beside hot.

    `on_kept` is called when a worker has been kept from new work for as long as it may. `too_large` ends a ticket that
    is more than the bytes that its worker takes.
    """

    def __init__(
        self,
        *,
        queues: Mapping[str, VariantQueue],
        links: Callable[[], Iterable[WorkerLink]],
        ages: Callable[[], bool],
        on_sent: Callable[[], None],
        on_kept: Callable[[], None],
        too_large: Callable[[Ticket, int], None],
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
        takers = [link for link in self._links() if link.texts.credits > 0 and link.takes_texts(now)]
        while takers:
            queue = self._most_urgent(takers)
            if queue is None:
                return
            ticket = queue.pop(ages=self._ages())
            if isinstance(ticket, TextTicket):
                self._send(ticket, idlest(takers, queue.variant_id), queue.variant_id, now)
                takers = [link for link in takers if link.texts.credits > 0]

    def _try_suspects(self, now: float) -> None:
        for queue in list(self._queues.values()):
            while queue.suspects and isinstance(queue.suspects[0], TextTicket):
                failed = queue.suspects[0].worker
                link = self._free_worker(queue.variant_id, failed, now)
                ticket = queue.pop_suspect() if link is not None else None
                if link is None or not isinstance(ticket, TextTicket):
                    break
                link.reservation.release()
                self._send(ticket, link, queue.variant_id, now)

    def _free_worker(self, variant_id: str, failed: str, now: float) -> WorkerLink | None:
        """A worker that does nothing else, `failed` last. While there is none, and nobody is tried, one runs dry."""
        able = [link for link in self._links() if variant_id in link.texts.variants and link.is_serving]
        able = [link for link in able if not link.conduct.is_out(now)]
        able.sort(key=lambda link: link.worker == failed)
        free = next((link for link in able if link.is_free and link.takes_texts(now)), None)
        if free is None and able and not any(link.is_set_apart for link in able):
            idlest = min(able, key=lambda link: len(link.texts.open) + len(link.open))
            if idlest.reservation.hold(now):
                asyncio.get_running_loop().call_later(HOLD_S, self._on_kept)
        return free

    def _most_urgent(self, takers: Iterable[WorkerLink]) -> VariantQueue | None:
        names = {name for link in takers for name in link.texts.variants}
        queues = [self._queues[name] for name in names if name in self._queues]
        heads = [(head, queue.variant_id) for queue in queues if (head := queue.head(suspects=False)) is not None]
        return self._queues[min(heads)[1]] if heads else None

    def _send(self, ticket: TextTicket, link: WorkerLink, variant_id: str, now: float) -> None:
        ticket.state = TicketState.DISPATCHED
        if size_of(ticket) > link.max_message_bytes:
            self._too_large(ticket, link.max_message_bytes)
            return
        ticket.dispatched_at = now
        ticket.attempts += 1
        if ticket.attempts == 1:
            self._on_sent()
        link.send_text(ticket, variant_id)


def idlest(links: Iterable[WorkerLink], variant_id: str) -> WorkerLink:
    """The link that writes with the variant and has the fewest texts: first of all, the fewest that wait for memory."""
    able = [link for link in links if variant_id in link.texts.variants]
    return min(able, key=lambda link: (link.texts.unbegun, len(link.texts.open)))
