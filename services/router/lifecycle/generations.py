"""Texts: the life of each, from admission to its one outcome. A text is a ticket like any request's.

It waits in the router's queues, is sent against a worker's credit, and from then on grows by the pieces that the worker
sends. Whatever ends it, its deadline, its caller or its worker, whoever still writes it is told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from services.router.admission.controller import AdmissionController
from services.router.admission.load_shedding import LoadShedder
from services.router.dispatch.dispatcher import Dispatcher, GenerationDispatcher
from services.router.lifecycle.completion import RequestTracker
from services.router.lifecycle.quarantine import Quarantine
from services.router.lifecycle.results import GenerationResultHandler
from services.router.lifecycle.retry import RetryBudget, RetryPolicy
from services.router.lifecycle.submission import GenerationSubmitter
from services.router.observability.stats import RequestStats
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import GenerationResult, PendingRequest, Request, RequestState
from services.router.requests.sampling_params import SamplingParams
from services.router.scheduling.generation_scheduler import GenerationScheduler
from services.router.scheduling.scheduler import Scheduler
from services.router.workers.client import WorkerClient
from services.router.workers.generation_usage import GenerationCostModel
from services.router.workers.lone_try import WAIT_SHARE
from sluice.control.directive import ActiveDirective
from sluice.domain.errors import Cancelled, ShuttingDown, SluiceError, WorkerFailed
from sluice.v1 import worker_service_pb2 as worker_pb2


class GenerationCoordinator:
    """Takes texts, hears of them, and lets each end once. `open` counts them."""

    def __init__(
        self,
        *,
        placement: Scheduler,
        admission: AdmissionController,
        dispatcher: Dispatcher,
        endings: RequestTracker,
        ledger: RequestStats,
        budget: RetryBudget,
        directives: ActiveDirective,
        quarantine: Quarantine,
        number: Callable[[], int],
        max_text_bytes: int,
        door: LoadShedder,
        clock: Callable[[], float],
    ) -> None:
        self.open = 0
        self._links = dispatcher.links
        self._placement = placement
        self._endings = endings
        self._ledger = ledger
        self._batches = dispatcher
        self._clock = clock
        self._door = door
        queues, costs = dispatcher.queues, GenerationCostModel()
        self.costs = costs
        self._dispatcher = GenerationDispatcher(
            queues=queues,
            links=dispatcher.links,
            ages=dispatcher.ages,
            on_sent=lambda: budget.sent(1),
            on_kept=self._look_everywhere,
            too_large=endings.too_large,
            clock=clock,
        )
        self._intake = GenerationSubmitter(
            placement=GenerationScheduler(
                placement=placement, links=dispatcher.links, queues=queues, directives=directives
            ),
            admission=admission,
            dispatcher=dispatcher,
            text_dispatcher=self._dispatcher,
            endings=endings,
            ledger=ledger,
            costs=costs,
            directives=directives,
            quarantine=quarantine,
            number=number,
            max_text_bytes=max_text_bytes,
            clock=clock,
        )
        self._settlement = GenerationResultHandler(
            admission=admission,
            endings=endings,
            retry_policy=RetryPolicy(
                budget=budget,
                finish=endings.finish,
                reassign=self._try_again,
                confirm=lambda ticket: _confirm(quarantine, ticket, clock()),
            ),
            ledger=ledger,
            costs=costs,
            waiting=lambda name: len(queues.get(name, ())),
            clock=clock,
        )

    def take(self, request: Request, sampling: SamplingParams) -> PendingGeneration:
        """Admit a text, whose outlet is filled from now on. Raises the SluiceError that refuses it."""
        hot = request.priority >= self._door.hot_from
        try:
            if self._door.draining():
                raise ShuttingDown("this router is shutting down")
            ticket = self._intake.take(request, sampling, hot=hot)
        except SluiceError as error:
            known = self._placement.view.known(request.model)
            self._ledger.count(known, "", error.reason, "hot" if hot else "cold")
            raise
        self.open += 1
        ticket.on_done = lambda outcome: self._ended(ticket, outcome)
        return ticket

    def cancel(self, ticket: PendingGeneration) -> None:
        """The caller no longer wants the text. Nothing happens if it has ended."""
        self._endings.finish(ticket, Cancelled("the caller cancelled"))

    def reassign(self, ticket: PendingRequest) -> None:
        """Find the text, which has lost its place in a queue or its worker, another one."""
        if isinstance(ticket, PendingGeneration):
            self._intake.reassign(ticket)

    # What the links tell.

    def wrote(self, link: WorkerClient, pieces: Iterable[worker_pb2.GenerationPiece]) -> None:
        """A worker has written."""
        was_apart = link.texts.lone is not None
        self._settlement.hear(link, pieces)
        if was_apart or link.is_free:
            self.may_be_free(link)

    def may_be_free(self, link: WorkerClient) -> None:
        """A worker has done something, and may be free of other work now, or no longer set apart."""
        if link.texts.variants and not link.is_set_apart and self._batches.has_waiting:
            self._look_everywhere()

    def on_credit(self) -> None:
        """A worker can take a text."""
        self._dispatcher.look()

    def lost(self, tickets: Iterable[PendingGeneration], why: str) -> None:
        """A worker took texts and will write no more of them."""
        self._settlement.void(tickets, why)

    def _look_everywhere(self) -> None:
        self._dispatcher.look()
        self._batches.look(at_once=True)

    def _try_again(self, ticket: PendingRequest) -> None:
        if isinstance(ticket, PendingGeneration) and ticket.suspect and ticket.lone_timer is None:
            wait_s = WAIT_SHARE * max(0.0, ticket.request.deadline - self._clock())
            loop = asyncio.get_running_loop()
            ticket.lone_timer = loop.call_later(wait_s, self._nobody_is_free, ticket, wait_s)
        self.reassign(ticket)

    def _nobody_is_free(self, ticket: PendingGeneration, waited_s: float) -> None:
        # Without a variant it waits for any worker at all.
        if ticket.state is RequestState.WAITING and ticket.variant_id:
            problem = f"a worker failed on this request, and none was free within {waited_s:.1f} s to try it alone"
            self._endings.finish(ticket, WorkerFailed(problem))

    def _ended(self, ticket: PendingGeneration, outcome: GenerationResult | SluiceError) -> None:
        self.open -= 1
        if ticket.lone_timer is not None:
            ticket.lone_timer.cancel()
        for link in self._links():
            if ticket.id in link.texts.open:
                link.cancel([ticket.id])
        ticket.outlet.end(outcome)


def _confirm(quarantine: Quarantine, ticket: PendingRequest, now: float) -> None:
    quarantine.confirm(ticket.request, ticket.sampling if isinstance(ticket, PendingGeneration) else None, now)
