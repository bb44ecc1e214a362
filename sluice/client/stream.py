"""What is open on a stream, and the order in which outcomes are handed out. Shared by threads: sender and reader."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from threading import Condition, Event, Lock
from typing import Any

from sluice.client.answer import Answer, from_proto
from sluice.client.query import Query, checked_max_open, to_proto
from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.domain.status import duration, from_item_status
from sluice.v1 import inference_service_pb2 as inference_pb2

BUNDLE = 256
# A router reads no message above 4 MiB unless it is configured otherwise.
BUNDLE_BYTES = 1024 * 1024
LATENESS_S = 1.0
WATCH_S = 0.5
Outcome = Answer | SluiceError


class StreamBook:
    """Turns texts into bundled messages, keeps at most `max_open` of them open, and puts outcomes back in order."""

    def __init__(
        self, texts: Iterable[str | Query], options: Mapping[str, Any], *, max_open: int, timeout_s: float
    ) -> None:
        self._texts = iter(texts)
        self._options = options
        self._max_open = checked_max_open(max_open)
        self._timeout_s = timeout_s
        self._changed = Condition()
        # The caller's iterator is read by the sender's thread and, when the stream breaks, by the reader's.
        self._reading = Lock()
        self.source_error: Exception | None = None
        self._unsendable: dict[int, InvalidRequest] = {}
        self._numbers = itertools.count(1)
        self._open: dict[int, float] = {}
        self.is_overdue = False
        self._done: dict[int, Outcome] = {}
        self._next = 1
        self._closed = False
        self._over = Event()

    def messages(self) -> Iterator[inference_pb2.InferStreamRequest]:
        """The stream's requests. Waits, in the sender's thread, while too many texts are open."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._open) < self._max_open)
                if self._closed:
                    return
                room = min(BUNDLE, self._max_open - len(self._open))
            with self._reading:
                message = self._bundle(room)
            if not message.items:
                return
            yield message

    def accept(self, response: inference_pb2.InferStreamResponse) -> Iterator[Outcome]:
        """Take what has come; gives the outcomes that are next in order."""
        for outcome in response.outcomes:
            if outcome.HasField("response"):
                self._end(outcome.id, from_proto(outcome.response))
            else:
                self._end(outcome.id, from_item_status(outcome.status))
        yield from self._in_order()

    def fail_open(self, error: SluiceError) -> Iterator[Outcome]:
        """The stream broke: everything open, and everything not sent yet, ends with `error`.

        Raises at last what reading the texts raised.
        """
        self.close()
        with self._reading:
            for number in sorted(self._open):
                self._end(number, error)
            yield from self._in_order()
            if self.source_error is not None:
                raise self.source_error
            yield from (error for _ in self._texts)

    def watch(self) -> bool:
        """Wait until a text is still open well past its deadline: True; or until nothing more is awaited: False.

        A router ends every text by its deadline; one that does not is stuck, and would be waited for without end.
        """
        while not self._over.wait(WATCH_S):
            with self._changed:
                self.is_overdue = min(self._open.values(), default=float("inf")) <= time.monotonic()
            if self.is_overdue:
                return True
        return False

    def close(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._over.set()

    def _bundle(self, room: int) -> inference_pb2.InferStreamRequest:
        """The next texts: at most `room`, and none beyond those that make a message of `BUNDLE_BYTES`."""
        message, size = inference_pb2.InferStreamRequest(), 0
        while not self._closed and len(message.items) < room and size < BUNDLE_BYTES:
            try:
                text = next(self._texts)
            except StopIteration:
                break
            except Exception as error:
                # The caller's own: `fail_open` raises it in the caller's thread.
                self.source_error = error
                break
            query = text if isinstance(text, Query) else Query(text=text, **self._options)
            timeout_s = query.timeout_s if query.timeout_s is not None else self._timeout_s
            number = next(self._numbers)
            try:
                request = to_proto(query)
            except InvalidRequest as error:
                # The router is sent an empty request in its place, which it refuses: so this text's end comes in its
                # turn, and soon, like all others, and counts as open until then.
                request, self._unsendable[number] = inference_pb2.InferRequest(), error
            message.items.add(id=number, request=request, timeout=duration(timeout_s))
            size += request.ByteSize()
            with self._changed:
                self._open[number] = time.monotonic() + timeout_s + LATENESS_S
        return message

    def _end(self, number: int, outcome: Outcome) -> None:
        with self._changed:
            if number not in self._open:
                return
            del self._open[number]
            self._done[number] = self._unsendable.pop(number, outcome)
            self._changed.notify_all()

    def _in_order(self) -> Iterator[Outcome]:
        while self._next in self._done:
            yield self._done.pop(self._next)
            self._next += 1
