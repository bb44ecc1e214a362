"""What waits to be written on one stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.runtime.message_size import MAX_BYTES
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.server.stream import SendQueue, cut


def message(number: int) -> worker_pb2.ExecuteResponse:
    return worker_pb2.ExecuteResponse(result=worker_pb2.BatchResult(batch_id=number))


class Stream:
    """Takes a message when the test lets it."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def write(self, response: worker_pb2.ExecuteResponse) -> None:
        await self.open.wait()
        if self.broken:
            raise ConnectionError("gone")
        self.written.append(response.result.batch_id)


async def ended(writer: asyncio.Task[None]) -> None:
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)


async def test_everything_is_written_in_order_and_then_it_is_flushed() -> None:
    outbox, stream = SendQueue(), Stream()
    stream.open.clear()
    writer = asyncio.create_task(outbox.write_all(stream.write))
    for number in range(5):
        outbox.put(message(number))
        await asyncio.sleep(0)
    flushed = asyncio.create_task(outbox.flushed())
    await asyncio.sleep(0.01)
    assert not flushed.done()
    stream.open.set()
    await asyncio.wait_for(flushed, 5)
    assert stream.written == [0, 1, 2, 3, 4]
    outbox.put(message(5))
    await asyncio.wait_for(outbox.flushed(), 5)
    assert stream.written[-1] == 5
    await ended(writer)


async def test_what_is_put_while_the_last_message_is_written_is_not_taken_for_flushed() -> None:
    outbox, stream = SendQueue(), Stream()
    writer = asyncio.create_task(outbox.write_all(stream.write))
    stream.open.clear()
    outbox.put(message(1))
    await asyncio.sleep(0.01)
    outbox.put(message(2))
    stream.open.set()
    await asyncio.wait_for(outbox.flushed(), 5)
    assert stream.written == [1, 2]
    await ended(writer)


async def test_an_empty_outbox_is_flushed_even_without_a_writer() -> None:
    await asyncio.wait_for(SendQueue().flushed(), 5)


@pytest.mark.parametrize("how", ["breaks", "ends"])
async def test_nobody_waits_for_a_stream_that_is_gone(how: str) -> None:
    outbox, stream = SendQueue(), Stream()
    stream.broken = how == "breaks"
    stream.open.clear()
    writer = asyncio.create_task(outbox.write_all(stream.write))
    outbox.put(message(1))
    outbox.put(message(2))
    flushed = asyncio.create_task(outbox.flushed())
    await asyncio.sleep(0.01)
    assert not flushed.done()
    if how == "breaks":
        stream.open.set()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(writer, 5)
    else:
        await ended(writer)
    await asyncio.wait_for(flushed, 5)
    assert stream.written == []


def piece(number: int, text: str, **fields: Any) -> worker_pb2.GenerationPiece:
    return worker_pb2.GenerationPiece(id=number, text=text, **fields)


async def written(outbox: SendQueue, count: int) -> list[worker_pb2.ExecuteResponse]:
    """The next `count` messages."""
    messages: list[worker_pb2.ExecuteResponse] = []
    enough = asyncio.Event()

    async def write(response: worker_pb2.ExecuteResponse) -> None:
        messages.append(response)
        if len(messages) >= count:
            enough.set()

    writer = asyncio.create_task(outbox.write_all(write))
    await asyncio.wait_for(enough.wait(), 10)
    await ended(writer)
    return messages


async def test_pieces_that_wait_become_one_of_each_text_behind_whatever_stands_before_them() -> None:
    outbox = SendQueue()
    credit = worker_pb2.Credit(generations=1, max_items=8)
    outbox.put_pieces([piece(1, "a", tokens=1), piece(2, "x", tokens=1)], credit)
    outbox.put_pieces([piece(1, "b", tokens=2), piece(3, "", tokens=0)], credit)
    outbox.put(message(7))
    outbox.put_pieces([piece(1, "c", tokens=3, finish_reason=1)], None)
    first, batch, last = await written(outbox, 3)
    assert [(one.id, one.text, one.tokens) for one in first.pieces] == [(1, "ab", 2), (2, "x", 1), (3, "", 0)]
    assert (first.credit.generations, first.credit.max_items) == (2, 8)
    assert batch.result.batch_id == 7
    assert [(one.id, one.text, one.finish_reason) for one in last.pieces] == [(1, "c", 1)]
    assert not last.HasField("credit")


async def test_what_comes_behind_a_last_piece_is_another_text() -> None:
    outbox = SendQueue()
    outbox.put_pieces([piece(1, "a", finish_reason=1)], None)
    outbox.put_pieces([piece(1, "other")], None)
    outbox.put_pieces([piece(1, "!")], None)
    (only,) = await written(outbox, 1)
    assert [one.text for one in only.pieces] == ["a", "other!"]


async def test_a_message_that_is_being_written_does_not_grow() -> None:
    outbox = SendQueue()
    outbox.put_pieces([piece(1, "a")], None)
    messages = await written(outbox, 1)
    outbox.put_pieces([piece(1, "b")], None)
    messages += await written(outbox, 1)
    assert [one.text for message in messages for one in message.pieces] == ["a", "b"]


async def test_a_text_of_megabytes_that_waits_is_copied_once_and_not_with_each_of_its_words() -> None:
    outbox, words = SendQueue(max_message_bytes=MAX_BYTES), 60_000
    for number in range(words):
        outbox.put_pieces([piece(1, f"{number:99} ", tokens=number + 1)], None)
    (only,) = await written(outbox, 1)
    assert [(len(one.text), one.text.split()[-1], one.tokens) for one in only.pieces] == [(6_000_000, "59999", words)]


pieces_ = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 60_000), st.sampled_from("aé水🙂"), st.booleans()), max_size=8
)


@given(pieces_, st.integers(40_000, 120_000))
def test_pieces_that_are_too_large_together_leave_in_messages_that_fit_and_say_the_same(
    made: list[tuple[int, int, str, bool]], most: int
) -> None:
    pieces = [
        piece(number, letter * length, tokens=length, prompt_tokens=2, finish_reason=int(is_last))
        for number, length, letter, is_last in made
    ]
    whole = worker_pb2.ExecuteResponse(pieces=pieces, credit=worker_pb2.Credit(generations=3, max_items=1))
    parts = list(cut(whole, most))
    assert all(part.ByteSize() <= most for part in parts)
    assert sum(part.credit.generations for part in parts) == 3
    found = [one for part in parts for one in part.pieces]
    assert [one.tokens for one in found if one.finish_reason] == [one.tokens for one in pieces if one.finish_reason]
    for number in (1, 2, 3):
        said = "".join(one.text for one in found if one.id == number)
        assert said == "".join(one.text for one in pieces if one.id == number)


async def test_a_failure_that_names_no_tokens_does_not_take_back_those_of_the_text_that_waits() -> None:
    outbox = SendQueue()
    outbox.put_pieces([piece(1, "a", tokens=5)], None)
    outbox.put_pieces([piece(1, "", status=inference_pb2.ItemStatus(code=13))], None)
    (only,) = await written(outbox, 1)
    assert [(one.text, one.tokens, one.status.code) for one in only.pieces] == [("a", 5, 13)]
