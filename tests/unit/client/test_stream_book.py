"""A stream's book: outcomes in the texts' order, a bounded number open, and each text ended exactly once."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from sluice.client.answer import Answer
from sluice.client.query import Query
from sluice.client.stream import BUNDLE, StreamBook
from sluice.domain.enums import Tier
from sluice.domain.errors import Expired, NoEndpoint, SluiceError
from sluice.domain.status import seconds_of, to_item_status
from sluice.v1 import inference_service_pb2 as inference_pb2

WAIT_S = 20.0
BROKEN = NoEndpoint("the stream broke")


def book_of(texts: Iterable[str | Query], *, max_open: int = 256, **options: object) -> StreamBook:
    return StreamBook(texts, options, max_open=max_open, timeout_s=2.5)


def answered(*numbers: int) -> inference_pb2.InferStreamResponse:
    response = inference_pb2.InferStreamResponse()
    for number in numbers:
        response.outcomes.add(id=number).response.classification.label = f"label {number}"
    return response


def names(outcomes: Iterable[Answer | SluiceError]) -> list[str]:
    return [outcome.label if isinstance(outcome, Answer) else type(outcome).__name__ for outcome in outcomes]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Where gRPC would run the sender, and the caller the reader."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_texts_travel_in_bundles_with_the_streams_options_or_their_own() -> None:
    query = Query(text="own", model="other", minimum_tier=Tier.FULL, timeout_s=0.5)
    (message,) = book_of(["plain", query], model="m", priority=0.9).messages()
    plain, own = message.items
    assert (plain.id, plain.request.text, plain.request.model, plain.request.priority) == (1, "plain", "m", 0.9)
    assert seconds_of(plain.timeout) == 2.5
    assert (own.id, own.request.text, own.request.model, own.request.minimum_tier) == (2, "own", "other", 3)
    assert not own.request.HasField("priority")
    assert seconds_of(own.timeout) == 0.5


def test_a_bundle_has_a_largest_size_and_no_text_is_sent_twice() -> None:
    texts = [f"text {number}" for number in range(BUNDLE * 2 + 7)]
    messages = list(book_of(texts, max_open=10_000).messages())
    assert [len(message.items) for message in messages] == [BUNDLE, BUNDLE, 7]
    assert [item.request.text for message in messages for item in message.items] == texts


@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_order_of_answers_outcomes_come_in_the_texts_order(seed: int) -> None:
    book = book_of(["text"] * 50)
    list(book.messages())
    numbers = list(range(1, 51))
    random.Random(seed).shuffle(numbers)
    seen: list[str] = []
    for number in numbers:
        seen += names(book.accept(answered(number)))
    assert seen == [f"label {number}" for number in range(1, 51)]


def test_a_text_that_fails_yields_its_own_error_in_its_place() -> None:
    book = book_of(["a", "b", "c"])
    list(book.messages())
    response = answered(1, 3)
    response.outcomes.add(id=2, status=to_item_status(Expired("late")))
    assert names(book.accept(response)) == ["label 1", "Expired", "label 3"]


def test_no_more_texts_are_open_than_may_be_and_none_is_read_before_it_may_be_sent() -> None:
    read: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(100):
            read.append(number)
            yield f"text {number}"

    book = book_of(texts(), max_open=3)
    messages = book.messages()
    assert [item.id for item in next(messages).items] == [1, 2, 3]
    assert len(read) == 3
    list(book.accept(answered(2)))
    assert [item.id for item in next(messages).items] == [4]
    assert len(read) == 4


def test_a_sender_that_waits_for_room_goes_on_when_there_is_some_and_ends_when_closed(
    threads: ThreadPoolExecutor,
) -> None:
    book = book_of(["text"] * 4, max_open=2)
    sent: queue.SimpleQueue[list[int]] = queue.SimpleQueue()

    def send() -> None:
        for message in book.messages():
            sent.put([item.id for item in message.items])

    sender = threads.submit(send)
    assert sent.get(timeout=WAIT_S) == [1, 2]
    list(book.accept(answered(1)))
    assert sent.get(timeout=WAIT_S) == [3]
    book.close()
    sender.result(WAIT_S)
    assert sent.empty()


def test_when_the_stream_breaks_every_text_ends_once_the_unsent_ones_too() -> None:
    book = book_of([f"text {number}" for number in range(10)], max_open=4)
    messages = book.messages()
    next(messages)
    seen = names(book.accept(answered(1, 3)))
    assert seen == ["label 1"]
    seen += names(book.fail_open(BROKEN))
    assert seen == ["label 1", "NoEndpoint", "label 3", *["NoEndpoint"] * 7]
    assert list(messages) == []


def test_a_stream_that_breaks_while_a_text_is_being_read_loses_none(threads: ThreadPoolExecutor) -> None:
    # The sender's thread stands inside the caller's iterator, which may be as slow as a human who types.
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        yield "first"
        reading.set()
        assert go_on.wait(WAIT_S)
        yield "second"
        yield "third"

    book = book_of(slow(), max_open=1)
    messages = book.messages()
    next(messages)
    seen = names(book.accept(answered(1)))
    sender = threads.submit(list, messages)
    assert reading.wait(WAIT_S)
    reader = threads.submit(lambda: names(book.fail_open(BROKEN)))
    wait([reader], timeout=0.1)
    go_on.set()
    sender.result(WAIT_S)
    assert seen + reader.result(WAIT_S) == ["label 1", "NoEndpoint", "NoEndpoint"]


def test_an_answer_to_a_text_that_is_not_open_ends_nothing_twice() -> None:
    book = book_of(["a", "b"])
    list(book.messages())
    assert names(book.accept(answered(1))) == ["label 1"]
    assert names(book.accept(answered(1, 99))) == []
    assert names(book.accept(answered(2))) == ["label 2"]


@pytest.mark.parametrize("max_open", [0, -1])
def test_a_stream_that_may_open_nothing_is_refused_rather_than_waited_for(max_open: int) -> None:
    with pytest.raises(ValueError, match="max_open"):
        book_of(["text"], max_open=max_open)
