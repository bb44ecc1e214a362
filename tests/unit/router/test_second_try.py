"""What may be tried a second time, and how often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.lifecycle.retry import SHARE, RetryBudget, RetryPolicy
from services.router.requests.request import Outcome, PendingRequest, Request, RequestState
from sluice.domain.errors import NoEndpoint, Saturated, WorkerFailed


def ticket(number: int = 1, *, attempts: int = 1) -> PendingRequest:
    made = PendingRequest(number, Request(model="m", text="t", deadline=9.0), lambda outcome: None, hot=False, now=0.0)
    made.state, made.attempts = RequestState.DISPATCHED, attempts
    return made


class Desk:
    """Second tries within a budget, and what became of them."""

    def __init__(self, burst: float = 10) -> None:
        self.finished: list[tuple[PendingRequest, Outcome]] = []
        self.again: list[PendingRequest] = []
        self.confirmed: list[PendingRequest] = []
        self.budget = RetryBudget(burst=burst)
        self.tries = RetryPolicy(
            budget=self.budget,
            finish=lambda one, outcome: self.finished.append((one, outcome)),
            reassign=self.again.append,
            confirm=self.confirmed.append,
        )


def test_the_first_failure_earns_another_try_and_only_what_may_be_its_cause_travels_alone() -> None:
    desk, cause, innocent = Desk(), ticket(1), ticket(2)
    desk.tries.on_failure(cause, "it died", True)
    desk.tries.on_failure(innocent, "it died", False)
    assert desk.again == [cause, innocent]
    assert [one.suspect for one in desk.again] == [True, False]
    assert {one.state for one in desk.again} == {RequestState.WAITING}


def test_the_second_failure_is_the_last() -> None:
    desk = Desk()
    desk.tries.on_failure(ticket(attempts=2), "it died", True)
    assert isinstance(desk.finished[0][1], WorkerFailed)
    assert not desk.again


def test_beyond_the_budget_a_request_is_told_to_come_back_and_costs_no_worker_anything() -> None:
    desk = Desk(burst=3)
    for number in range(5):
        desk.tries.on_failure(ticket(number), "it died", True)
    assert len(desk.again) == 3
    assert all(isinstance(one, Saturated) and one.retry_after_s for _, one in desk.finished)
    assert len(desk.finished) == 2


def test_what_was_not_taken_goes_on_whatever_the_budget_and_is_no_suspect_but_not_for_ever() -> None:
    desk = Desk(burst=0)
    for number in range(5):
        desk.tries.on_rejection(ticket(number), "draining")
    assert len(desk.again) == 5
    assert not any(one.suspect for one in desk.again)
    desk.tries.on_rejection(ticket(attempts=2), "draining")
    assert isinstance(desk.finished[0][1], NoEndpoint)


def test_who_has_ended_wants_no_other_try() -> None:
    desk, done = Desk(), ticket()
    done.state = RequestState.DONE
    desk.tries.on_failure(done, "it died", True)
    desk.tries.on_rejection(done, "draining")
    assert not desk.tries.may_move(done)
    assert not desk.again
    assert not desk.finished


def test_what_hangs_may_move_once_within_the_budget() -> None:
    desk = Desk(burst=1)
    assert not desk.tries.may_move(ticket(attempts=2))
    assert desk.tries.may_move(ticket())
    assert not desk.tries.may_move(ticket())


@given(st.lists(st.integers(0, 300)), st.integers(1, 50))
def test_tries_never_exceed_the_burst_and_a_share_of_what_was_sent(sends: list[int], burst: int) -> None:
    budget, sent, taken = RetryBudget(burst=burst), 0, 0
    for count in sends:
        budget.sent(count)
        sent += count
        while budget.take():
            taken += 1
        assert taken <= burst + SHARE * sent + 1e-6


def test_a_budget_without_bounds_is_never_spent() -> None:
    budget = RetryBudget(burst=float("inf"))
    assert all(budget.take() for _ in range(10_000))


def test_only_a_death_that_it_had_for_itself_confirms_a_request_and_only_while_somebody_waits() -> None:
    desk = Desk()
    desk.tries.on_worker_death(ticket(1), "it died", may_be_the_cause=True, was_alone=False)
    desk.tries.on_failure(ticket(2, attempts=2), "it says so", True)
    assert desk.confirmed == []
    killer, done = ticket(3, attempts=2), ticket(4, attempts=2)
    done.state = RequestState.DONE
    for one in (killer, done):
        desk.tries.on_worker_death(one, "it died", may_be_the_cause=True, was_alone=True)
    assert desk.confirmed == [killer]
    assert isinstance(desk.finished[-1][1], WorkerFailed)
