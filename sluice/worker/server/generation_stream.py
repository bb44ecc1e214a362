"""One router's texts at a worker: the credits for those that wait for memory, and the end of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from sluice.domain.errors import Cancelled, Expired, Saturated, ShuttingDown, SluiceError, WorkerFailed
from sluice.runtime.tracing import trace_id_of
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.generation_runner import ActiveGeneration, GenerationRunner
from sluice.worker.execution.generator import Chunk
from sluice.worker.models.registry import ModelRegistry
from sluice.worker.server.codec import chunk_to_proto, generation_from_proto
from sluice.worker.server.tracing import WorkerSpans

Send = Callable[[Sequence[worker_pb2.GenerationPiece], int], None]

logger = logging.getLogger(__name__)


class GenerationSession:
    """At most `credits_` texts of the router wait for their memory at a time.

    `send` is called with the pieces that one step wrote, and how many credits they give back; `failed` when a text
    ended by a failure of the worker's own, so that somebody looks after the device. Use from one event loop.
    """

    def __init__(
        self,
        catalog: ModelRegistry,
        *,
        credits_: int,
        send: Send,
        spans: WorkerSpans,
        failed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.finished = asyncio.Event()
        self.finished.set()
        self._catalog = catalog
        self._credits = credits_
        self._send = send
        self._spans = spans
        self._failed = failed
        self._clock = clock
        self._open: dict[int, tuple[ActiveGeneration, GenerationRunner]] = {}
        self._waiting = 0

    @property
    def open_texts(self) -> int:
        """Texts taken and not ended."""
        return len(self._open)

    def take(self, message: worker_pb2.Generation, *, draining: bool) -> None:
        """Take a text against a credit. Raises Saturated when the router has none left.

        One that nobody can write here, or whose numbers make no sense, ends at once.
        """
        number = message.id
        if self._waiting >= self._credits or number in self._open:
            raise Saturated(f"text {number} exceeds the {self._credits} credits for generations that were granted")
        try:
            if draining:
                raise ShuttingDown("this worker is shutting down")
            writing = generation_from_proto(message, owner=self, now=self._clock())
            writer = self._catalog.writer(writing.variant_id)
        except SluiceError as error:
            self._send([chunk_to_proto(number, Chunk(key=0, error=error))], 1)
            return
        self._open[number] = writing, writer
        self._waiting += 1
        self.finished.clear()
        if writing.timeout_s is not None:
            loop = asyncio.get_running_loop()
            writing.timer = loop.call_later(writing.timeout_s, self._expire, writing, writer)
        writer.begin(writing)

    def cancel(self, numbers: Iterable[int]) -> None:
        """End these texts; unknown ones are ignored."""
        for number in numbers:
            if number in self._open:
                writing, writer = self._open[number]
                writer.cancel(writing)

    def abandon(self) -> None:
        """The router has gone: nothing is written for it any more."""
        for writing, writer in self._open.values():
            if writing.timer is not None:
                writing.timer.cancel()
            writer.cancel(writing)
        self._open.clear()
        self.finished.set()

    def hear(self, heard: Sequence[tuple[ActiveGeneration, Chunk]]) -> None:
        """What one step wrote."""
        pieces: list[worker_pb2.GenerationPiece] = []
        credits_ = 0
        for writing, piece in heard:
            if writing.number not in self._open or self._open[writing.number][0] is not writing:
                # The router has gone.
                continue
            if writing.begun_at is None:
                writing.begun_at = self._clock()
                self._waiting -= 1
                credits_ += 1
            error = piece.error
            if writing.is_late and isinstance(error, Cancelled):
                error = Expired("the deadline passed before the text was written")
            if piece.is_last:
                self._end(writing, piece, error)
            pieces.append(chunk_to_proto(writing.number, piece, error=error))
        if pieces:
            self._send(pieces, credits_)
        if not self._open:
            self.finished.set()

    def _expire(self, writing: ActiveGeneration, writer: GenerationRunner) -> None:
        writing.is_late = True
        writer.cancel(writing)

    def _end(self, writing: ActiveGeneration, piece: Chunk, error: SluiceError | None) -> None:
        del self._open[writing.number]
        if writing.timer is not None:
            writing.timer.cancel()
        if isinstance(error, WorkerFailed):
            extra = {"text": writing.number, "trace_id": trace_id_of(writing.traceparent), "why": error.message}
            logger.error("a text failed", extra=extra)
            self._failed()
        self._spans.record_text(writing, piece, error, now=self._clock())
