"""Second tries: what lost its worker goes to another one once, and only as often as the router can afford."""

from __future__ import annotations

from collections.abc import Callable

from services.router.requests.request import Outcome, PendingRequest, RequestState
from sluice.domain.errors import NoEndpoint, Saturated, WorkerFailed

# How many second tries the router may spend: a share of what it sends, so that trouble is never multiplied.
#
# A token bucket, as gRPC's retry throttling (proposal A6) and Finagle's retry budgets are.


SHARE = 0.1


class RetryBudget:
    """Holds at most `burst` tries, and is full at first; infinitely many are no bound."""

    __slots__ = ("_burst", "_tries")

    def __init__(self, *, burst: float) -> None:
        self._burst = burst
        self._tries = burst

    def sent(self, requests: int) -> None:
        """So many requests were sent for the first time."""
        self._tries = min(self._burst, self._tries + SHARE * requests)

    def take(self) -> bool:
        """Whether one more second try may be made; it is then spent."""
        if self._tries < 1.0:
            return False
        self._tries -= 1.0
        return True


MAX_ATTEMPTS = 2
RETRY_AFTER_S = 0.5


class RetryPolicy:
    """Gives a ticket to `reassign`, or to `finish` with the reason why not.

    `confirm` is told of tickets that ended a worker which they had for themselves.
    """

    def __init__(
        self,
        *,
        budget: RetryBudget,
        finish: Callable[[PendingRequest, Outcome], None],
        reassign: Callable[[PendingRequest], None],
        confirm: Callable[[PendingRequest], None],
    ) -> None:
        self._budget = budget
        self._finish = finish
        self._reassign = reassign
        self.confirm = confirm

    def on_failure(self, ticket: PendingRequest, why: str, may_be_the_cause: bool) -> None:
        """A worker failed with the ticket in its hands. What may be the cause of that travels alone from now on."""
        if ticket.state is RequestState.DONE:
            return
        ticket.state = RequestState.WAITING
        if ticket.attempts >= MAX_ATTEMPTS:
            self._finish(ticket, WorkerFailed(f"two workers failed on this request, the last one so: {why}"))
        elif not self._budget.take():
            problem = f"its worker failed, and too many requests are tried a second time already: {why}"
            self._finish(ticket, Saturated(problem, retry_after_s=RETRY_AFTER_S))
        else:
            ticket.suspect = may_be_the_cause
            self._reassign(ticket)

    def on_worker_death(self, ticket: PendingRequest, why: str, *, may_be_the_cause: bool, was_alone: bool) -> None:
        """A worker has died with the ticket in its hands, and nothing else if it `was_alone`."""
        if was_alone and ticket.state is not RequestState.DONE:
            self.confirm(ticket)
        self.on_failure(ticket, why, may_be_the_cause)

    def on_rejection(self, ticket: PendingRequest, why: str) -> None:
        """A worker gave the ticket back untouched. That multiplies no work, and costs none of what can be afforded."""
        if ticket.state is RequestState.DONE:
            return
        ticket.state = RequestState.WAITING
        if ticket.attempts >= MAX_ATTEMPTS:
            self._finish(ticket, NoEndpoint(f"two workers did not take this request, the last one because: {why}"))
        else:
            self._reassign(ticket)

    def may_move(self, ticket: PendingRequest) -> bool:
        """Whether a ticket that is on a worker may go to another one; its second try is then spent."""
        return ticket.state is RequestState.DISPATCHED and ticket.attempts < MAX_ATTEMPTS and self._budget.take()
