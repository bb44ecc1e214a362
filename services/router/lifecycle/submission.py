"""Intake: a request's way from the face that took it to the queue of the variant that shall answer it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from services.router.admission.controller import AdmissionController
from services.router.dispatch.dispatcher import Dispatcher, GenerationDispatcher
from services.router.lifecycle.completion import RequestTracker
from services.router.lifecycle.quarantine import Quarantine
from services.router.observability.stats import RequestStats
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import OnDone, PendingRequest, Request
from services.router.requests.sampling_params import SamplingParams
from services.router.requests.validation import validate, validate_sampling
from services.router.scheduling.generation_scheduler import GenerationAssignment, GenerationScheduler
from services.router.scheduling.scheduler import Scheduler
from services.router.scheduling.scoring import Assignment
from services.router.workers.generation_usage import GenerationCostModel
from sluice.control.directive import ActiveDirective
from sluice.domain.errors import NoEndpoint, SluiceError

# A text's way from the face that took it to the queue of the variant that shall write it.


class GenerationSubmitter:
    """Makes tickets, and finds them a queue: a first one, or another when they have lost theirs."""

    def __init__(
        self,
        *,
        placement: GenerationScheduler,
        admission: AdmissionController,
        dispatcher: Dispatcher,
        text_dispatcher: GenerationDispatcher,
        endings: RequestTracker,
        ledger: RequestStats,
        costs: GenerationCostModel,
        directives: ActiveDirective,
        quarantine: Quarantine,
        number: Callable[[], int],
        max_text_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._placement = placement
        self._admission = admission
        self._dispatcher = dispatcher
        self._text_dispatcher = text_dispatcher
        self._endings = endings
        self._ledger = ledger
        self._costs = costs
        self._directives = directives
        self._quarantine = quarantine
        self._number = number
        self._max_text_bytes = max_text_bytes
        self._clock = clock

    def take(self, request: Request, sampling: SamplingParams, *, hot: bool) -> PendingGeneration:
        """Admit a text and let it wait. Raises the SluiceError that refuses it; nothing is then held."""
        now = self._clock()
        validate(request, max_text_bytes=self._max_text_bytes, now=now, text_field="prompt")
        validate_sampling(sampling)
        self._placement.identify(request)
        self._quarantine.check(request, sampling, now)
        ticket = PendingGeneration(self._number(), request, sampling, hot=hot, now=now)
        ticket.cost_s = self._costs.expected_s(request.model, sampling.max_new_tokens)
        request.hot, request.generates = hot, True
        size, cost_s, timeout_s = ticket.size, ticket.cost_s, request.deadline - now
        closed = self._admission.admit(request, size=size, cost=cost_s, now=now)
        try:
            choice = self._placement.place(ticket, closed=closed)
        except SluiceError as error:
            # As the cause of itself it would hold the request until the garbage collector's next full pass.
            raise self._admission.withdraw(
                request, closed, error, size=size, cost=cost_s, timeout_s=timeout_s
            ) from None
        self._admission.placed(request, choice.variant_id, cost=cost_s, timeout_s=timeout_s)
        self._endings.open(ticket)
        self._enqueue(ticket, choice)
        return ticket

    def reassign(self, ticket: PendingGeneration) -> None:
        """Find the text, which waits nowhere and has no token yet, a new place; it may hope for one to the end."""
        try:
            choice = self._placement.place(ticket)
        except NoEndpoint:
            self._endings.unroutable.enter(ticket)
        except SluiceError as error:
            self._endings.finish(ticket, error)
        else:
            self._enqueue(ticket, choice)

    def _enqueue(self, ticket: PendingGeneration, choice: GenerationAssignment) -> None:
        ticket.degraded_from = choice.degraded_from
        ticket.levels = self._directives.levels
        if choice.diverted:
            self._ledger.diverted(ticket.cost_s)
        self._dispatcher.queue(choice.variant_id).push(ticket)
        self._text_dispatcher.look()


class RequestSubmitter:
    """Makes tickets, and finds them a queue: a first one, or another when they have lost theirs."""

    def __init__(
        self,
        *,
        placement: Scheduler,
        admission: AdmissionController,
        dispatcher: Dispatcher,
        endings: RequestTracker,
        ledger: RequestStats,
        directives: ActiveDirective,
        quarantine: Quarantine,
        max_text_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._placement = placement
        self._admission = admission
        self._dispatcher = dispatcher
        self._endings = endings
        self._ledger = ledger
        self._directives = directives
        self._quarantine = quarantine
        self._max_text_bytes = max_text_bytes
        self._clock = clock
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """An id that no ticket has had."""
        return next(self._numbers)

    def take(self, request: Request, on_done: OnDone, *, hot: bool) -> PendingRequest:
        """Admit and assign `request`. Raises the SluiceError that refuses it; nothing is then held."""
        now = self._clock()
        validate(request, max_text_bytes=self._max_text_bytes, now=now)
        self._placement.identify(request)
        self._quarantine.check(request, None, now)
        ticket = PendingRequest(self.number(), request, on_done, hot=hot, now=now)
        ticket.cost_s = self._placement.min_cost_s(request, ticket.tokens, now)
        request.hot = hot
        size, cost_s, timeout_s = ticket.size, ticket.cost_s, request.deadline - now
        closed = self._admission.admit(request, size=size, cost=cost_s, now=now)
        try:
            assignment = self._placement.place(request, tokens=ticket.tokens, hot=hot, now=now, closed=closed)
        except SluiceError as error:
            # As the cause of itself it would hold the request until the garbage collector's next full pass.
            raise self._admission.withdraw(
                request, closed, error, size=size, cost=cost_s, timeout_s=timeout_s
            ) from None
        self._admission.placed(request, assignment.variant_id, cost=cost_s, timeout_s=timeout_s)
        self._endings.open(ticket)
        self.enqueue(ticket, assignment)
        return ticket

    def enqueue(self, ticket: PendingRequest, assignment: Assignment) -> None:
        """Let the ticket wait where `assignment` says."""
        ticket.degraded_from = assignment.degraded_from
        ticket.levels = self._directives.levels
        if assignment.diverted_token_s:
            self._ledger.diverted(assignment.diverted_token_s * ticket.tokens)
        self._dispatcher.enqueue(ticket, assignment.variant_id)

    def reassign(self, ticket: PendingRequest) -> None:
        """Find the ticket, which waits nowhere, a new place. It was admitted, so it may hope for one to the end."""
        request, now = ticket.request, self._clock()
        try:
            assignment = self._placement.place(request, tokens=ticket.tokens, hot=ticket.hot, now=now, hope=0.0)
        except NoEndpoint:
            self._endings.unroutable.enter(ticket)
        except SluiceError as error:
            self._endings.finish(ticket, error)
        else:
            self.enqueue(ticket, assignment)
