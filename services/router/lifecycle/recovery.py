"""Rescue: finds workers that hang, and brings what they hold, and what waits for nobody else, to workers that do not.

A worker that is stopped or starved keeps its connection, so that only the time its batches take gives it away. Batches
that hang may come back, late; what was rescued from them has a new number by then, and their results mean nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from services.router.dispatch.dispatcher import Dispatcher
from services.router.lifecycle.retry import RetryPolicy
from services.router.requests.request import PendingRequest, RequestState
from services.router.scheduling.latency_estimator import SIGMA_PER_DEVIATION
from services.router.scheduling.scheduler import Scheduler
from services.router.scheduling.scoring import LAST_HOPE, Assignment
from services.router.workers.client import WorkerClient
from services.router.workers.outlier_detection import hangs_after_s, may_eject
from sluice.domain.errors import SluiceError

# So many tickets that wait are looked at in one beat; the rest have the next.
MOST_AT_ONCE = 256

logger = logging.getLogger(__name__)


class HungWorkerRecovery:
    """Looks at the workers whenever it is told to. `number` gives new ids for tickets, `move` lets one wait anew."""

    def __init__(
        self,
        *,
        links: Callable[[], Iterable[WorkerClient]],
        placement: Scheduler,
        dispatcher: Dispatcher,
        retry_policy: RetryPolicy,
        number: Callable[[], int],
        move: Callable[[PendingRequest, Assignment], None],
    ) -> None:
        self._links = links
        self._placement = placement
        self._dispatcher = dispatcher
        self._second_tries = retry_policy
        self._number = number
        self._move = move

    def look(self, now: float) -> None:
        """Judge every worker, and rescue what can be rescued. Nothing more than a glance while all is well."""
        serving = [link for link in self._links() if link.is_serving]
        self._call_back(serving, now)
        for link in serving:
            if not link.conduct.stuck and is_hanging(link, now):
                self._condemn(link, serving, now)
        stuck = [link for link in serving if link.conduct.stuck]
        if not stuck:
            return
        able = {name for link in serving if not link.conduct.is_out(now) for name in link.variants}
        if not able:
            return
        for link in stuck:
            self._take_back(link, able, now)
        for name in {name for link in stuck for name in link.variants} - able:
            queue = self._dispatcher.queues.get(name)
            for ticket in queue.some(MOST_AT_ONCE) if queue is not None else ():
                self._find_place(ticket, able, now, hope=0.0)

    def _call_back(self, serving: list[WorkerClient], now: float) -> None:
        """Who was sent away may prove itself when its time is over, or when nobody is left who could do its work."""
        away = [link for link in serving if link.conduct.is_ejected and not link.conduct.stuck]
        if not away:
            return
        able = {name for link in serving if not link.conduct.is_out(now) for name in link.variants}
        for link in away:
            if not able.issuperset(link.variants):
                link.conduct.pardon(now)
        # Nobody else tells the dispatcher that a time is over.
        self._dispatcher.look(at_once=True)

    def _condemn(self, link: WorkerClient, serving: list[WorkerClient], now: float) -> None:
        link.conduct.hang()
        peers = [[one for one in serving if name in one.variants] for name in link.variants]
        goes = may_eject((sum(one.conduct.is_ejected for one in group), len(group)) for group in peers)
        if goes:
            link.conduct.eject(now)
        self._placement.refresh()
        hung_s = round(now - link.begun_at, 3)
        logger.warning("worker hangs", extra={"worker": link.worker, "hung_s": hung_s, "ejected": goes})

    def _take_back(self, link: WorkerClient, able: set[str], now: float) -> None:
        """Give what the worker holds to others, the most urgent first; one by one, as far as the budget goes."""
        held = [(number, one) for batch in link.open.values() for number, one in batch.tickets.items()]
        held = [(number, one) for number, one in held if one.id == number and one.state is RequestState.DISPATCHED]
        held.sort(key=lambda pair: (not pair[1].hot, pair[1].request.deadline))
        moved = [number for number, ticket in held if self._find_place(ticket, able, now, hope=LAST_HOPE)]
        if moved:
            link.cancel(moved)
            logger.warning("requests moved", extra={"worker": link.worker, "requests": len(moved)})

    def _find_place(self, ticket: PendingRequest, able: set[str], now: float, *, hope: float) -> bool:
        """Whether the ticket waits for a worker that is able now."""
        try:
            assignment = self._placement.place(ticket.request, tokens=ticket.tokens, hot=ticket.hot, now=now, hope=hope)
        except SluiceError:
            return False
        if assignment.variant_id not in able:
            return False
        if ticket.state is RequestState.WAITING:
            self._dispatcher.leave(ticket)
        elif self._second_tries.may_move(ticket):
            ticket.id = self._number()
        else:
            return False
        self._move(ticket, assignment)
        return True


def is_hanging(link: WorkerClient, now: float) -> bool:
    """Whether the worker's oldest batch takes longer than it can. A first batch, which may warm it up, never does.

    Nor does the first that is so much larger than all before it.
    """
    oldest = next(iter(link.open.values()), None)
    if oldest is None or not link.times.has_evidence(oldest.variant_id, oldest.tokens):
        return False
    times, name = link.times, oldest.variant_id
    expected_s = times.batch_s(name, oldest.tokens, now) + times.overhead_s(now)
    sigma_s = SIGMA_PER_DEVIATION * times.pace(name).spread * expected_s
    return now - link.begun_at > hangs_after_s(expected_s, sigma_s)
