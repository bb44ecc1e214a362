"""What a batch that came back, or was lost, means for its requests."""

from __future__ import annotations

import pytest

from services.router.lifecycle.results import BatchResultHandler
from services.router.queueing.batch import InFlightBatch
from services.router.requests.request import InferResult, Outcome, PendingRequest, Request, RequestState
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import (
    Cancelled,
    Expired,
    InvalidRequest,
    NoEndpoint,
    Saturated,
    ShuttingDown,
    SluiceError,
    WorkerFailed,
)
from sluice.domain.status import to_item_status
from sluice.domain.variant import Variant
from sluice.v1 import worker_service_pb2 as worker_pb2

VARIANT = Variant(id="m/light-fp32", model="m", tier=Tier.LIGHT, task=Task.TEXT_CLASSIFICATION)


class Desk:
    """A settlement of one batch of three, sent at 10 and looked at at 12, and what it decided."""

    def __init__(self) -> None:
        self.finished: dict[int, tuple[Outcome, str]] = {}
        self.retried: dict[int, str] = {}
        self.suspects: set[int] = set()
        self.were_alone: set[int] = set()
        self.tickets = {number: self._ticket(number) for number in (1, 2, 3)}
        self.batch = InFlightBatch(id=7, variant_id=VARIANT.id, tickets=self.tickets, sent_at=10.0)
        self.refused: dict[int, str] = {}
        self.served: list[tuple[str, float, float, int]] = []
        self.settlement = BatchResultHandler(
            finish=self._finish,
            retry=self._retry,
            refused=self._refused,
            died=self._died,
            served=self._answered,
            clock=lambda: 12.0,
        )

    def _answered(self, variant_id: str, cost: float, queue_s: float, *, requests: int) -> None:
        self.served.append((variant_id, cost, queue_s, requests))

    def _ticket(self, number: int) -> PendingRequest:
        request = Request(model="m", text="text", deadline=99.0)
        made = PendingRequest(number, request, lambda outcome: None, hot=False, now=9.5)
        made.state, made.dispatched_at, made.attempts = RequestState.DISPATCHED, 10.0, 1
        made.cost_s = 0.25
        return made

    def _finish(self, ticket: PendingRequest, outcome: Outcome, tier: str = "") -> None:
        assert ticket.id not in self.finished
        self.finished[ticket.id] = outcome, tier

    def _died(self, ticket: PendingRequest, why: str, *, may_be_the_cause: bool, was_alone: bool) -> None:
        if was_alone:
            self.were_alone.add(ticket.id)
        self._retry(ticket, why, may_be_the_cause)

    def _retry(self, ticket: PendingRequest, why: str, may_be_the_cause: bool) -> None:
        self.retried[ticket.id] = why
        if may_be_the_cause:
            self.suspects.add(ticket.id)

    def _refused(self, ticket: PendingRequest, why: str) -> None:
        self.refused[ticket.id] = why

    def settle(self, **failures: SluiceError | None) -> None:
        """Answer all three, but for `failures` by name (None: no outcome at all)."""
        result = worker_pb2.BatchResult(batch_id=7)
        for number in self.tickets:
            item = result.results.add(id=number)
            error = failures.get(f"item{number}", item)
            if isinstance(error, SluiceError):
                item.status.CopyFrom(to_item_status(error))
            elif error is not None:
                item.classification.label = f"label {number}"
        self.settlement.settle(self.batch, result, variant=VARIANT, worker="w1", compute_s=0.5)


def test_what_was_computed_for_callers_who_had_gone_was_served_all_the_same() -> None:
    desk = Desk()
    for number in (1, 3):
        desk.tickets[number].state = RequestState.DONE
    # The third was left out by the worker, and cost nothing.
    desk.settle(item3=Expired("too late"))
    assert list(desk.finished) == [2]
    assert desk.served == [(VARIANT.id, 0.5, 0.5, 1)]
    alone = Desk()
    for ticket in alone.tickets.values():
        ticket.state = RequestState.DONE
    alone.settle()
    assert alone.served == [(VARIANT.id, 0.75, 0.0, 0)]


def test_each_request_gets_its_own_answer_with_where_its_time_went() -> None:
    desk = Desk()
    desk.settle()
    assert list(desk.finished) == [1, 2, 3]
    for number, (outcome, tier) in desk.finished.items():
        assert isinstance(outcome, InferResult)
        assert outcome.result.classification.label == f"label {number}"
        assert (outcome.worker, outcome.variant, tier) == ("w1", VARIANT, "light")
        assert (outcome.queue_s, outcome.batch_s, outcome.compute_s) == (0.5, 1.5, 0.5)
    assert desk.served == [(VARIANT.id, 0.75, 1.5, 3)]
    assert not desk.retried


@pytest.mark.parametrize(
    "error", [InvalidRequest("too long", field="text"), Expired("late"), Saturated("full"), Cancelled("gone")]
)
def test_a_failure_of_an_items_own_is_its_outcome_and_nobody_elses(error: SluiceError) -> None:
    desk = Desk()
    desk.settle(item2=error)
    outcome, _ = desk.finished[2]
    assert isinstance(outcome, type(error))
    assert (outcome.message, outcome.field) == (error.message, error.field)
    assert all(isinstance(desk.finished[number][0], InferResult) for number in (1, 3))
    assert desk.served == [(VARIANT.id, 0.5, 1.0, 2)]
    assert not desk.retried


@pytest.mark.parametrize("error", [WorkerFailed("crash"), None])
def test_a_failure_of_the_workers_is_tried_again_and_its_neighbours_are_not(error: SluiceError | None) -> None:
    desk = Desk()
    desk.settle(item2=error)
    assert list(desk.retried) == [2]
    assert desk.suspects == {2}
    assert sorted(desk.finished) == [1, 3]


@pytest.mark.parametrize("error", [NoEndpoint("not held"), ShuttingDown("draining")])
def test_what_a_worker_did_not_take_is_nobodys_fault(error: SluiceError) -> None:
    desk = Desk()
    desk.settle(item2=error)
    assert desk.refused == {2: error.message}
    assert not desk.retried
    assert sorted(desk.finished) == [1, 3]


def test_who_has_ended_meanwhile_gets_nothing_more() -> None:
    desk = Desk()
    desk.tickets[1].state = RequestState.DONE
    desk.tickets[2].state = RequestState.DONE
    desk.settle(item2=WorkerFailed("crash"))
    assert list(desk.finished) == [3]
    assert not desk.retried


def test_a_lost_batch_gives_every_request_another_try_and_says_whose_fault_it_was() -> None:
    desk = Desk()
    desk.settlement.void([desk.batch], worker="w1", why="the stream broke")
    assert sorted(desk.retried) == [1, 2, 3]
    assert set(desk.retried.values()) == {"w1: the stream broke"}
    assert not desk.finished


def test_only_the_batch_that_was_begun_can_have_killed_its_worker() -> None:
    desk = Desk()
    waiting = {number: desk._ticket(number) for number in (4, 5)}
    second = InFlightBatch(id=8, variant_id=VARIANT.id, tickets=waiting, sent_at=10.0)
    desk.settlement.void([desk.batch, second], worker="w1", why="the stream broke")
    assert sorted(desk.retried) == [1, 2, 3, 4, 5]
    assert desk.suspects == {1, 2, 3}


def test_what_was_taken_to_another_worker_meanwhile_has_nothing_to_do_with_this_one() -> None:
    for end in ("answered", "lost"):
        desk = Desk()
        desk.tickets[2].id = 99
        if end == "answered":
            desk.settle()
            assert sorted(desk.finished) == [1, 3]
        else:
            desk.settlement.void([desk.batch], worker="w1", why="the stream broke")
            assert sorted(desk.retried) == [1, 3]


def test_a_death_in_the_middle_of_a_lone_try_is_told_as_such() -> None:
    desk = Desk()
    desk.settlement.void([desk.batch], worker="w1", why="the stream broke")
    assert desk.were_alone == set()
    other = Desk()
    other.batch.alone = True
    other.settlement.void([other.batch], worker="w1", why="the stream broke")
    assert other.were_alone == {1, 2, 3}
