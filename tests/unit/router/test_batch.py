"""Which requests travel together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.queueing.batch import BatchLimits, InFlightBatch, form_batch
from services.router.queueing.queue import VariantQueue
from services.router.requests.request import PendingRequest, Request, RequestState
from services.router.workers.codec import batch_to_proto
from sluice.domain.status import seconds_of
from sluice.v1 import worker_service_pb2 as worker_pb2


def ticket(
    number: int, text: str = "text", *, deadline: float = 50.0, suspect: bool = False, hot: bool = False
) -> PendingRequest:
    request = Request(
        model="m", text=text, deadline=deadline, top_k=number, truncate=True, traceparent=f"trace {number}"
    )
    made = PendingRequest(number, request, lambda outcome: None, hot=hot, now=0.0)
    made.suspect = suspect
    return made


def queue_of(*tickets: PendingRequest) -> VariantQueue:
    queue = VariantQueue("m/light-fp32")
    for one in tickets:
        queue.push(one)
    return queue


def formed(
    queue: VariantQueue, *, max_items: int = 8, max_tokens: int = 0, efficient_batch_tokens: float = 0, now: float = 5.0
) -> InFlightBatch:
    limits = BatchLimits(max_items=max_items, max_tokens=max_tokens, efficient_batch_tokens=efficient_batch_tokens)
    batch = form_batch(queue, limits, number=7, ages=False, now=now)
    assert batch is not None
    return batch


def test_a_batch_takes_no_more_than_it_may_and_marks_what_it_took() -> None:
    tickets = [ticket(number) for number in range(5)]
    queue = queue_of(*tickets)
    batch = formed(queue, max_items=3)
    assert list(batch.tickets) == [0, 1, 2]
    assert (batch.id, batch.variant_id, batch.sent_at, batch.alone) == (7, "m/light-fp32", 5.0, False)
    assert {(one.state, one.attempts, one.dispatched_at) for one in batch.tickets.values()} == {
        (RequestState.DISPATCHED, 1, 5.0)
    }
    assert {(one.state, one.attempts) for one in tickets[3:]} == {(RequestState.WAITING, 0)}
    assert len(queue) == 2


def test_a_suspect_travels_alone_and_before_the_others() -> None:
    queue = queue_of(ticket(1), ticket(2, suspect=True), ticket(3, suspect=True), ticket(4))
    for expected, alone in (([2], True), ([3], True), ([1, 4], False)):
        batch = formed(queue)
        assert (list(batch.tickets), batch.alone) == (expected, alone)
    assert len(queue) == 0


def test_a_queue_of_the_departed_makes_no_batch() -> None:
    gone = ticket(1)
    queue = queue_of(gone)
    queue.discard(gone)
    gone.state = RequestState.DONE
    assert form_batch(queue, BatchLimits(max_items=8), number=1, ages=False, now=0) is None


def test_a_text_longer_than_the_bound_is_taken_alone_rather_than_never() -> None:
    queue = queue_of(ticket(1, "x" * 100), ticket(2, "y"))
    assert list(formed(queue, max_tokens=10).tickets) == [1]
    assert list(formed(queue, max_tokens=10).tickets) == [2]


def test_length_is_measured_in_bytes() -> None:
    queue = queue_of(ticket(1, "水" * 4), ticket(2, "水" * 4))
    assert list(formed(queue, max_tokens=23).tickets) == [1]


def test_a_batch_ends_where_more_would_only_make_it_longer() -> None:
    # Two tokens for the ends of each text, and one for every four bytes.
    queue = queue_of(*(ticket(number, "x" * 32) for number in range(5)))
    assert [len(formed(queue, efficient_batch_tokens=25).tickets) for _ in range(2)] == [2, 2]
    assert formed(queue, efficient_batch_tokens=1).tokens == 10


@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 9)), max_size=30),
    st.integers(1, 10),
    st.integers(0, 120),
)
def test_batches_take_everything_once_in_order_and_within_their_bounds(
    arrivals: list[tuple[int, bool, int]], max_items: int, max_tokens: int
) -> None:
    tickets = [
        ticket(number, "x" * size, hot=hot, deadline=float(deadline))
        for number, (size, hot, deadline) in enumerate(arrivals)
    ]
    queue = queue_of(*tickets)
    taken: list[int] = []
    limits = BatchLimits(max_items=max_items, max_tokens=max_tokens)
    while (batch := form_batch(queue, limits, number=1, ages=False, now=0)) is not None:
        longest = max(len(one.request.text) for one in batch.tickets.values())
        assert 1 <= len(batch.tickets) <= max_items
        assert not max_tokens or len(batch.tickets) == 1 or longest * len(batch.tickets) <= max_tokens
        taken.extend(batch.tickets)
    order = sorted(tickets, key=lambda one: (not one.hot, one.request.deadline, one.id))
    assert taken == [one.id for one in order]
    assert len(queue) == 0


def test_the_worker_is_told_the_time_that_is_left() -> None:
    batch = formed(queue_of(ticket(3, "hello", deadline=12.5), ticket(4, deadline=1.0)), now=5.0)
    message = batch_to_proto(batch, "batch trace", 5.0)
    late, item = sorted(message.items, key=lambda one: one.timeout.seconds)
    assert (message.id, message.variant, message.traceparent) == (7, "m/light-fp32", "batch trace")
    assert (item.id, item.text, item.top_k, item.truncate, item.traceparent) == (3, "hello", 3, True, "trace 3")
    assert seconds_of(item.timeout) == pytest.approx(7.5)
    # Past its deadline already: nothing is left, and an absent timeout would mean for ever.
    assert late.HasField("timeout")
    assert seconds_of(late.timeout) == 0


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=30), st.integers(1_000, 6_000))
def test_no_batch_of_several_items_has_a_larger_message_than_its_worker_takes(sizes: list[int], most: int) -> None:
    queue = queue_of(*(ticket(number, "é" * size, deadline=1e9) for number, size in enumerate(sizes)))
    taken = 0
    while (
        batch := form_batch(queue, BatchLimits(max_items=8, max_bytes=most), number=2**63, ages=False, now=0)
    ) is not None:
        taken += len(batch.tickets)
        message = worker_pb2.ExecuteRequest(batch=batch_to_proto(batch, "t" * 55, 0.0))
        assert message.ByteSize() <= batch.size
        assert batch.size <= most or len(batch.tickets) == 1
    assert taken == len(sizes)
