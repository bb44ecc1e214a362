"""The outcomes of one InferStream that its reader has not taken, bounded in bytes and cut into messages that fit."""

from __future__ import annotations

from collections import deque

from sluice.domain.errors import Saturated, SluiceError
from sluice.runtime.message_size import too_large
from sluice.v1 import inference_service_pb2 as inference_pb2

# Beyond this share of the bytes that may wait, nothing new is taken.
FILLING = 0.25
RETRY_AFTER_S = 1.0
# Tags on the wire, a field's number and its type: InferStreamResponse.outcomes, and InferStreamOutcome's own.
_OUTCOME = b"\x0a"
_ID = b"\x08"
_RESPONSE = b"\x12"
_STATUS = b"\x1a"


class OutcomeQueue:
    """First in, first out. It is empty when it is false; its length is the number of outcomes."""

    def __init__(self, *, max_message_bytes: int, max_waiting_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_waiting_bytes = max_waiting_bytes
        # In their wire form, which is made once.
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._mean_bytes = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, number: int, response: bytes) -> SluiceError | None:
        """Let the outcome of id `number` wait, an InferResponse in its wire form.

        Or return why it cannot: alone it is too large, or too much waits already.
        """
        frame = _frame_of(number, _RESPONSE, response)
        size = len(frame)
        if size > self._max_message_bytes:
            return too_large(size, self._max_message_bytes)
        if self._bytes + size > self._max_waiting_bytes:
            problem = f"{self._bytes} bytes of answers wait for the stream's reader, and {self._max_waiting_bytes} may"
            return Saturated(problem, retry_after_s=RETRY_AFTER_S)
        self._mean_bytes += 0.05 * (size - self._mean_bytes) if self._mean_bytes else size
        self._waiting.append(frame)
        self._bytes += size
        return None

    def put_status(self, number: int, status: inference_pb2.ItemStatus) -> None:
        """Let the failure of id `number` wait, which is small and bounded by the number of texts."""
        frame = _frame_of(number, _STATUS, status.SerializeToString())
        self._waiting.append(frame)
        self._bytes += len(frame)

    def is_filling(self, open_texts: int) -> bool:
        """Whether what waits, and what `open_texts` will add to it by the usual size, is more than may pile up."""
        expected = self._bytes + open_texts * self._mean_bytes
        return bool(self._waiting) and expected > FILLING * self._max_waiting_bytes

    def next_message(self) -> bytes:
        """As many outcomes as one message may hold, in its wire form. Not to be asked of an empty queue."""
        if self._bytes <= self._max_message_bytes:
            message = b"".join(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return message
        frames, size = list[bytes](), 0
        while self._waiting and size + len(self._waiting[0]) <= self._max_message_bytes:
            frames.append(self._waiting.popleft())
            size += len(frames[-1])
        self._bytes -= size
        return b"".join(frames)


def _frame_of(number: int, field: bytes, data: bytes) -> bytes:
    """An element of InferStreamResponse.outcomes: a tag and a length before id, and `field` before its length and data.

    See https://protobuf.dev/programming-guides/encoding/.
    """
    head = _ID + _varint(number) + field + _varint(len(data))
    return b"".join((_OUTCOME, _varint(len(head) + len(data)), head, data))


def _varint(value: int) -> bytes:
    # Nearly all have one byte, two or three.
    if value <= 0x7F:
        return b"%c" % value
    if value <= 0x3FFF:
        return b"%c%c" % (value & 0x7F | 0x80, value >> 7)
    if value <= 0x1FFFFF:
        return b"%c%c%c" % (value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14)
    return b"%c" % (value & 0x7F | 0x80) + _varint(value >> 7)
