"""The outcomes of one InferStream that its reader has not taken, bounded in bytes and cut into messages that fit."""

from __future__ import annotations

from collections import deque

from sluice.errors import Saturated, SluiceError
from sluice.runtime.message_size import too_large
from sluice.v1 import inference_service_pb2 as inference_pb2

# Beyond this share of the bytes that may wait, nothing new is taken.
FILLING = 0.25
RETRY_AFTER_S = 1.0
# The tag of an outcome inside a message: field 1, length-delimited.
_TAG = b"\x0a"


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

    def put(self, outcome: inference_pb2.InferStreamOutcome) -> SluiceError | None:
        """Let `outcome` wait, or return why it cannot: alone it is too large, or too much waits already."""
        frame = _frame_of(outcome)
        size = len(frame)
        if size > self._max_message_bytes:
            return too_large(size, self._max_message_bytes)
        if self._bytes + size > self._max_waiting_bytes:
            problem = f"{self._bytes} bytes of answers wait for the stream's reader, and {self._max_waiting_bytes} may"
            return Saturated(problem, retry_after_s=RETRY_AFTER_S)
        self._mean_bytes += 0.05 * (size - self._mean_bytes) if self._mean_bytes else size
        self._append(frame)
        return None

    def put_status(self, outcome: inference_pb2.InferStreamOutcome) -> None:
        """Let a failure wait, which is small and bounded by the number of texts."""
        self._append(_frame_of(outcome))

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

    def _append(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._bytes += len(frame)


def _frame_of(outcome: inference_pb2.InferStreamOutcome) -> bytes:
    """`outcome` as an element of InferStreamResponse.outcomes: a tag, its length as a varint, and its own wire form."""
    data = outcome.SerializeToString()
    left = len(data)
    if left <= 0x3FFF:
        # Nearly all: one byte of length, or two.
        return b"\x0a%c%b" % (left, data) if left <= 0x7F else b"\x0a%c%c%b" % (left & 0x7F | 0x80, left >> 7, data)
    length = bytearray()
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return _TAG + length + data
