"""A text's way from the face that took it to the queue of the variant that shall write it."""

from __future__ import annotations

from collections.abc import Callable

from services.router.admission.controller import AdmissionController
from services.router.dispatch.dispatcher import Dispatcher
from services.router.generation.choice import Choice
from services.router.generation.text_costs import TextCosts
from services.router.generation.text_dispatcher import TextDispatcher
from services.router.lifecycle.completion import Endings
from services.router.lifecycle.quarantine import Quarantine
from services.router.observability.stats import Ledger
from services.router.requests.generation import TextTicket
from services.router.requests.request import Request
from services.router.requests.sampling_params import Sampling
from services.router.requests.validation import validate, validate_sampling
from services.router.scheduling.generation_scheduler import TextPlacement
from sluice.control.directive import DirectiveState
from sluice.domain.errors import NoEndpoint, SluiceError


class TextIntake:
    """Makes tickets, and finds them a queue: a first one, or another when they have lost theirs."""

    def __init__(
        self,
        *,
        placement: TextPlacement,
        admission: AdmissionController,
        dispatcher: Dispatcher,
        text_dispatcher: TextDispatcher,
        endings: Endings,
        ledger: Ledger,
        costs: TextCosts,
        directives: DirectiveState,
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

    def take(self, request: Request, sampling: Sampling, *, hot: bool) -> TextTicket:
        """Admit a text and let it wait. Raises the SluiceError that refuses it; nothing is then held."""
        now = self._clock()
        validate(request, max_text_bytes=self._max_text_bytes, now=now, text_field="prompt")
        validate_sampling(sampling)
        self._placement.identify(request)
        self._quarantine.check(request, sampling, now)
        ticket = TextTicket(self._number(), request, sampling, hot=hot, now=now)
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

    def reassign(self, ticket: TextTicket) -> None:
        """Find the text, which waits nowhere and has no token yet, a new place; it may hope for one to the end."""
        try:
            choice = self._placement.place(ticket)
        except NoEndpoint:
            self._endings.waiting_room.enter(ticket)
        except SluiceError as error:
            self._endings.finish(ticket, error)
        else:
            self._enqueue(ticket, choice)

    def _enqueue(self, ticket: TextTicket, choice: Choice) -> None:
        ticket.degraded_from = choice.degraded_from
        ticket.levels = self._directives.levels
        if choice.diverted:
            self._ledger.diverted(ticket.cost_s)
        self._dispatcher.queue(choice.variant_id).push(ticket)
        self._text_dispatcher.look()
