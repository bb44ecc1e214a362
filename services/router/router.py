"""The router's core: the life of a request from admission to its one outcome.

It runs on one event loop and never waits: a request is a ticket that waits in a queue or travels in a batch, and
every event (an answer, a deadline, a departure, a worker's death) finds the ticket where it is and moves it on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from services.router.admission.controller import AdmissionController
from services.router.admission.hard_limits import Queued
from services.router.admission.load_shedding import LoadShedder
from services.router.admission.resource_map import worker_groups
from services.router.config import RouterConfig
from services.router.control_loop import RouterControlLoop
from services.router.dispatch.dispatcher import Dispatcher
from services.router.lifecycle.completion import RequestTracker
from services.router.lifecycle.generations import GenerationCoordinator
from services.router.lifecycle.quarantine import Quarantine
from services.router.lifecycle.recovery import HungWorkerRecovery
from services.router.lifecycle.results import BatchResultHandler
from services.router.lifecycle.retry import RetryBudget, RetryPolicy
from services.router.lifecycle.submission import RequestSubmitter
from services.router.observability.stats import RequestStats
from services.router.queueing.batch import InFlightBatch
from services.router.requests.caller import CallerResolver, parse_networks
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import InferResult, OnDone, Outcome, PendingRequest, Request, RequestState
from services.router.scheduling.complexity import load_complexity
from services.router.scheduling.model_registry import ModelRegistry
from services.router.scheduling.scheduler import Scheduler
from services.router.workers.client import WorkerClient
from services.router.workers.pool import WorkerPool
from sluice.control.directive import ActiveDirective
from sluice.domain.enums import Level
from sluice.domain.errors import Cancelled, ShuttingDown, SluiceError
from sluice.domain.variant import Variant
from sluice.runtime.tracing import Tracing
from sluice.v1 import worker_service_pb2 as worker_pb2


class Router:
    """Admits, assigns, queues, dispatches and answers; once `draining`, nothing new. Use from one event loop only.

    Before it drains it is `leaving`: not ready, and still takes everything.
    """

    def __init__(
        self,
        config: RouterConfig,
        *,
        tracing: Tracing,
        directives: ActiveDirective,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._clock = clock
        self.ledger = RequestStats(clock=clock)
        self.pool = WorkerPool(self, clock=clock, max_redial_s=config.worker_redial_max_s, mesh=config.mesh)
        self.changed = asyncio.Event()
        priced = config.assignment == "priced"
        self.dispatcher = Dispatcher(
            max_batch_size=config.max_batch_size,
            batch_timeout_s=config.batch_timeout_ms / 1000,
            gather_s=config.batch_gather_ms / 1000,
            open_requests=lambda: self.open_requests - self.texts.open,
            links=self.pool.links,
            ages=lambda: priced and Level.ADMIT not in directives.levels,
            sizes=priced,
            on_sent=lambda batch: self._budget.sent(0 if batch.alone else len(batch.tickets)),
            too_large=lambda ticket, most: self._endings.too_large(ticket, most),  # noqa: PLW0108  made later
            tracing=tracing,
            clock=clock,
        )
        self.placement = Scheduler(
            default_model=config.default_model,
            priced=priced,
            max_batch_size=config.max_batch_size,
            complexity=load_complexity(config.complexity_model),
            directives=directives,
            workers=self.pool.links,
            queues=self.dispatcher.queues,
        )
        self.admission = AdmissionController(
            max_requests=config.max_open_requests,
            max_bytes=config.max_open_bytes,
            adaptive=config.admission == "adaptive",
            queue_target_s=config.queue_target_ms / 1000 or None,
            levels=lambda: directives.levels,
            queued=lambda name, caller, hot: Queued(*self.dispatcher.queued_by(caller, variant_id=name, hot=hot)),
        )
        self.callers = CallerResolver(
            trusted_proxies=parse_networks(config.trusted_proxies), forwarded_key=config.forwarded_key
        )
        self.door = LoadShedder(
            admission=self.admission,
            ledger=self.ledger,
            hot_from=config.priority_threshold,
            draining=lambda: self.draining,
            clock=clock,
        )
        self._endings = RequestTracker(
            admission=self.admission,
            dispatcher=self.dispatcher,
            ledger=self.ledger,
            endpoint_grace_s=config.endpoint_grace_s,
            clock=clock,
        )
        quarantine = Quarantine()
        self._intake = RequestSubmitter(
            placement=self.placement,
            admission=self.admission,
            dispatcher=self.dispatcher,
            endings=self._endings,
            ledger=self.ledger,
            directives=directives,
            quarantine=quarantine,
            max_text_bytes=config.max_text_bytes,
            clock=clock,
        )
        self._budget = RetryBudget(burst=2 * config.max_batch_size if priced else math.inf)
        retry_policy = RetryPolicy(
            budget=self._budget,
            finish=self._endings.finish,
            reassign=self._intake.reassign,
            confirm=lambda ticket: quarantine.confirm(ticket.request, None, clock()),
        )
        self.texts: GenerationCoordinator = GenerationCoordinator(
            placement=self.placement,
            admission=self.admission,
            dispatcher=self.dispatcher,
            endings=self._endings,
            ledger=self.ledger,
            budget=self._budget,
            directives=directives,
            quarantine=quarantine,
            number=self._intake.number,
            max_text_bytes=config.max_text_bytes,
            door=self.door,
            clock=clock,
        )
        self._settlement = BatchResultHandler(
            finish=self._endings.finish,
            retry=retry_policy.on_failure,
            refused=retry_policy.on_rejection,
            died=retry_policy.on_worker_death,
            served=self.admission.served,
            clock=clock,
        )
        rescue = HungWorkerRecovery(
            links=self.pool.links,
            placement=self.placement,
            dispatcher=self.dispatcher,
            retry_policy=retry_policy,
            number=self._intake.number,
            move=self._intake.enqueue,
        )
        self._beat = RouterControlLoop(
            rescue=rescue if priced else None,
            placement=self.placement,
            dispatcher=self.dispatcher,
            admission=self.admission,
            directives=directives,
            clock=clock,
        )
        self.leaving = False
        self.draining = False
        self._has_tried_all = False

    # What the faces ask.

    def submit(self, request: Request, on_done: OnDone) -> PendingRequest:
        """Admit and assign `request`; `on_done` is called once with its outcome, later and on the loop.

        Raises the SluiceError that refuses it; `on_done` is then never called.
        """
        hot = request.priority >= self.config.priority_threshold
        try:
            if self.draining:
                raise ShuttingDown("this router is shutting down")
            return self._intake.take(request, on_done, hot=hot)
        except SluiceError as error:
            self.ledger.count(self.view.known(request.model), "", error.reason, "hot" if hot else "cold")
            raise

    async def infer(self, request: Request) -> InferResult:
        """Answer `request`. Raises SluiceError; cancelling the caller cancels the request, at the worker too."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        ticket = self.submit(request, partial(_resolve, future))
        try:
            outcome = await future
        except asyncio.CancelledError:
            self.cancel(ticket)
            raise
        if isinstance(outcome, SluiceError):
            raise outcome
        return outcome

    def cancel(self, ticket: PendingRequest) -> None:
        """The caller no longer wants the answer, or text. Nothing happens if the ticket is done."""
        if ticket.state is RequestState.DONE:
            return
        if ticket.state is RequestState.DISPATCHED:
            for link in self.pool.links():
                if any(ticket.id in batch.tickets for batch in link.open.values()):
                    link.cancel([ticket.id])
        ticket.silence()
        self._endings.finish(ticket, Cancelled("the caller cancelled"))

    def models(self) -> Mapping[str, tuple[Variant, ...]]:
        """The variants that are served now, by model."""
        return self.view.models()

    @property
    def view(self) -> ModelRegistry:
        """Who serves what now."""
        return self.placement.view

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome: something is served, and at the start every known worker was dialled once.

        A worker that is dialled later changes nothing: clients that check health would leave at every new one.
        """
        return not self.leaving and bool(self.view.variants) and self._has_tried_all

    @property
    def open_requests(self) -> int:
        """Requests admitted and not ended."""
        return self.admission.requests

    async def drain(self) -> None:
        """Refuse what is new and wait until everything open has ended."""
        self.leaving = self.draining = True
        self.changed.set()
        await self._endings.all_done.wait()

    def cut(self) -> None:
        """End everything that is open: this router is shutting down."""
        self._endings.end_all(lambda: ShuttingDown("this router is shutting down"))

    async def run(self) -> None:
        """Keep watch over workers, prices and the limit on admission, until cancelled."""
        await self._beat.run()

    # What the links tell.

    def on_worker_changed(self, link: WorkerClient) -> None:
        """A worker came, went or holds other variants: see who is served now, and re-place what has lost its place."""
        del link
        self.pool.on_worker_changed()
        serving = [one for one in self.pool.links() if one.is_serving]
        sources = [one.address for one in serving]
        self.placement.update([one.held for one in serving], sources=sources, now=self._clock())
        self.texts.costs.keep(self.view.generating_seen)
        self._has_tried_all = self._has_tried_all or self.pool.all_tried
        self.admission.regroup(worker_groups(self.pool.links()), defaults=self.placement.defaults())
        for ticket in (*self.dispatcher.stranded(self.view.variants), *self._endings.unroutable.call_all()):
            (self.texts if isinstance(ticket, PendingGeneration) else self._intake).reassign(ticket)
        self.changed.set()

    def on_worker_refused(self, link: WorkerClient, said: Iterable[Variant]) -> None:
        """A worker broke the contract, and its link is down: what it `said` it held outlives that no more."""
        self.placement.distrust(link.address, said, self._clock())
        self.on_worker_changed(link)

    def on_worker_credit(self, link: WorkerClient) -> None:
        """A worker can take a batch."""
        self.dispatcher.on_credit(link)
        if link.is_free:
            self.texts.may_be_free(link)

    def on_worker_result(
        self, link: WorkerClient, batch: InFlightBatch, result: worker_pb2.BatchResult, compute_s: float
    ) -> None:
        """A batch has come back: each of its tickets that is still open gets its outcome."""
        variant = link.known_variants[batch.variant_id]
        self._settlement.settle(batch, result, variant=variant, worker=link.worker, compute_s=compute_s)

    def on_worker_lost(self, link: WorkerClient, batches: Iterable[InFlightBatch], why: str) -> None:
        """A worker took batches and will not answer them: their tickets get one more try."""
        self._settlement.void(batches, worker=link.worker, why=why)


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    # A caller who has just gone away has cancelled the future, and learns of it only in the loop's next turn.
    if not future.done():
        future.set_result(outcome)
