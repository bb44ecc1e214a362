"""What waits for a stream's reader: every outcome once and in order, in messages that it takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.api.outcome_queue import OutcomeQueue
from sluice.domain.errors import AnswerTooLarge, Saturated
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES, HEADROOM_BYTES, MAX_BYTES, MAX_MESSAGE_KEY, limit_of
from sluice.v1 import inference_service_pb2 as inference_pb2

LIMIT = 1_000
MOST_WAITING = 5_000


def response(size: int) -> bytes:
    return inference_pb2.InferResponse(model="x" * size).SerializeToString()


@given(st.lists(st.integers(0, 1_200) | st.none(), max_size=60))
def test_what_is_taken_comes_once_in_order_and_in_messages_that_fit(steps: list[int | None]) -> None:
    queue = OutcomeQueue(max_message_bytes=LIMIT, max_waiting_bytes=MOST_WAITING)
    taken: list[int] = []
    sent: list[int] = []

    def read() -> None:
        data = queue.next_message()
        assert 0 < len(data) <= LIMIT
        sent.extend(one.id for one in inference_pb2.InferStreamResponse.FromString(data).outcomes)

    for number, size in enumerate(steps, 1):
        if size is None:
            if queue:
                read()
            continue
        refused = queue.put(number, response(size))
        if refused is None:
            taken.append(number)
        elif size < LIMIT - 40:
            assert isinstance(refused, Saturated)
        else:
            assert isinstance(refused, AnswerTooLarge | Saturated)
    while queue:
        read()
    assert sent == taken
    assert not queue.is_filling(1_000)


@given(st.integers(0, 2**64 - 1), st.integers(0, 40_000), st.text(max_size=40))
def test_what_is_encoded_by_hand_is_what_protobuf_reads(number: int, size: int, message: str) -> None:
    queue = OutcomeQueue(max_message_bytes=100_000, max_waiting_bytes=200_000)
    assert queue.put(number, response(size)) is None
    queue.put_status(number, inference_pb2.ItemStatus(code=3, message=message))
    answered, failed = inference_pb2.InferStreamResponse.FromString(queue.next_message()).outcomes
    assert (answered.id, answered.response.model) == (number, "x" * size)
    assert (failed.id, failed.status.code, failed.status.message) == (number, 3, message)


def test_a_reader_that_pauses_stops_the_stream_before_its_answers_have_no_room() -> None:
    queue = OutcomeQueue(max_message_bytes=LIMIT, max_waiting_bytes=MOST_WAITING)
    assert not queue.is_filling(100)
    assert queue.put(1, response(400)) is None
    assert not queue.is_filling(1)
    assert queue.is_filling(3)
    while queue.put(2, response(400)) is None:
        assert len(queue) < 100
    assert len(queue) == 12


def test_a_caller_is_believed_as_far_as_it_makes_sense() -> None:
    for said, limit in {
        "8388608": 8_388_608 - HEADROOM_BYTES,
        "99999999": MAX_BYTES - HEADROOM_BYTES,
        "1": DEFAULT_LIMIT_BYTES,
        "-1": DEFAULT_LIMIT_BYTES,
        "nan": DEFAULT_LIMIT_BYTES,
        "٣" * 8: DEFAULT_LIMIT_BYTES,
        "9" * 5_000: DEFAULT_LIMIT_BYTES,
    }.items():
        assert limit_of([("other", "1"), (MAX_MESSAGE_KEY, said)]) == limit
    assert limit_of(None) == DEFAULT_LIMIT_BYTES
