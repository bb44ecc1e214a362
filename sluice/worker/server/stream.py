"""One Execute stream at a worker: a router's batches and texts, and what it is still to be sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator

from sluice.domain.errors import Saturated
from sluice.runtime.message_size import DEFAULT_LIMIT_BYTES
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.batch import BatchOutcome, WorkerBatch
from sluice.worker.executor import DeviceExecutor
from sluice.worker.server.generation_stream import GenerationSession

# One router at a worker: the credits it was granted, the batches it has here, and what it is still to be sent.


Send = Callable[[int, WorkerBatch, BatchOutcome], None]


class BatchSession:
    """The credit account of one Execute stream. `send` is called with each batch that is done."""

    def __init__(self, device: DeviceExecutor, *, credits_: int, send: Send) -> None:
        self._device = device
        self._credits = credits_
        self._send = send
        self._open: dict[int, WorkerBatch] = {}
        self.finished = asyncio.Event()
        self.finished.set()

    @property
    def open_items(self) -> int:
        """Items taken and not answered."""
        return sum(len(work.items) for work in self._open.values())

    def take(self, number: int, work: WorkerBatch) -> None:
        """Take batch `number` against a credit. Raises Saturated when the router has none left."""
        if len(self._open) >= self._credits or number in self._open:
            raise Saturated(f"batch {number} exceeds the {self._credits} credits that were granted")
        self._open[number] = work
        self.finished.clear()
        work.done.add_done_callback(lambda future: self._done(number, work, future))
        self._device.submit(work)

    def cancel(self, ids: set[int]) -> None:
        """Do not compute these items if their batch has not been begun."""
        for work in self._open.values():
            work.cancelled |= ids

    def abandon(self) -> None:
        """The router has gone: nothing that has not been begun is computed."""
        for work in self._open.values():
            work.cancelled.update(item.id for item in work.items)
            work.done.cancel()
        self._open.clear()
        self.finished.set()

    def _done(self, number: int, work: WorkerBatch, future: asyncio.Future[BatchOutcome]) -> None:
        if future.cancelled() or self._open.pop(number, None) is None:
            return
        if not self._open:
            self.finished.set()
        self._send(number, work, future.result())


# What waits to be written on one stream, and whether all of it has been.


# A piece's tag and length inside a message, and what it has beside its text.
FRAME_BYTES = 8
FIXED_BYTES = 16_384


class SendQueue:
    """Written in order by one writer.

    Bounded by the credits of the stream, the changes of its card, and the texts that are written: of each text all that
    waits behind the message before is one piece. Pieces larger together than `max_message_bytes` leave in several
    messages; what else is put must be no larger.
    """

    def __init__(self, *, max_message_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._waiting: deque[worker_pb2.ExecuteResponse] = deque()
        self._growing: dict[int, worker_pb2.GenerationPiece] | None = None
        # What growing pieces are put together from, once: a long text is not copied with each of its words.
        self._parts: dict[int, list[str]] = {}
        self._filled = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._closed = False

    def put(self, response: worker_pb2.ExecuteResponse) -> None:
        """Write `response` after what waits."""
        self._finish_last()
        self._waiting.append(response)
        self._flushed.clear()
        self._filled.set()

    def put_pieces(self, pieces: Iterable[worker_pb2.GenerationPiece], credit: worker_pb2.Credit | None) -> None:
        """Write `pieces` and `credit` after what waits, in the last message if that holds pieces as well."""
        if self._growing is None:
            self.put(worker_pb2.ExecuteResponse())
            self._growing = {}
        message = self._waiting[-1]
        if credit is not None:
            credit.generations += message.credit.generations
            message.credit.CopyFrom(credit)
        for piece in pieces:
            before = self._growing.get(piece.id)
            if before is None:
                message.pieces.append(piece)
                self._growing[piece.id] = message.pieces[-1]
            else:
                self._parts.setdefault(piece.id, [before.text]).append(piece.text)
                piece.ClearField("text")
                # What a failure says of tokens is not what the text before it has.
                piece.tokens = max(piece.tokens, before.tokens)
                before.CopyFrom(piece)
            # Behind its last piece a text's number may come again, as another text's.
            if piece.finish_reason or piece.HasField("status"):
                self._finish(piece.id)

    async def write_all(self, write: Callable[[worker_pb2.ExecuteResponse], Awaitable[None]]) -> None:
        """Write until closed, or until the stream breaks, which this raises."""
        try:
            while not self._closed:
                await self._filled.wait()
                while self._waiting and not self._closed:
                    for part in cut(self._pop(), self._max_message_bytes):
                        await write(part)
                self._filled.clear()
                self._flushed.set()
        finally:
            self._flushed.set()

    def close(self) -> None:
        """Let the writer end after the message that it is writing: a call cannot be ended in the middle of one."""
        self._closed = True
        self._filled.set()

    async def flushed(self) -> None:
        """Return when everything has been written, or nothing can be any more."""
        await self._flushed.wait()

    def _pop(self) -> worker_pb2.ExecuteResponse:
        message = self._waiting.popleft()
        if not self._waiting:
            self._finish_last()
        return message

    def _finish_last(self) -> None:
        """The last message does not grow any more."""
        for number in list(self._parts):
            self._finish(number)
        self._growing = None

    def _finish(self, number: int) -> None:
        piece = (self._growing or {}).pop(number)
        if number in self._parts:
            piece.text = "".join(self._parts.pop(number))


def cut(message: worker_pb2.ExecuteResponse, most: int) -> Iterator[worker_pb2.ExecuteResponse]:
    """`message`, with its pieces in as many messages as it takes for none to have more than `most` bytes."""
    if not message.pieces or message.ByteSize() <= most:
        yield message
        return
    part = worker_pb2.ExecuteResponse()
    part.CopyFrom(message)
    part.ClearField("pieces")
    size = part.ByteSize()
    for whole in message.pieces:
        for piece in _cut_piece(whole, most - FRAME_BYTES):
            own = piece.ByteSize() + FRAME_BYTES
            if size + own > most:
                yield part
                part, size = worker_pb2.ExecuteResponse(), 0
            part.pieces.append(piece)
            size += own
    yield part


def _cut_piece(piece: worker_pb2.GenerationPiece, most: int) -> Iterator[worker_pb2.GenerationPiece]:
    """`piece` in parts of the same counts, of which the last says why the text ended, if it did."""
    if piece.ByteSize() <= most:
        yield piece
        return
    data, step = piece.text.encode(), most - FIXED_BYTES
    begin = 0
    while len(data) - begin > step:
        # A character that does not end there belongs to the next part.
        text = data[begin : begin + step].decode(errors="ignore")
        begin += len(text.encode())
        yield worker_pb2.GenerationPiece(id=piece.id, text=text, tokens=piece.tokens, prompt_tokens=piece.prompt_tokens)
    last = worker_pb2.GenerationPiece()
    last.CopyFrom(piece)
    last.text = data[begin:].decode()
    yield last


class RouterStream:
    """The two accounts of one router, which takes `max_message_bytes`, and the outbox that both of them fill."""

    def __init__(
        self, batches: BatchSession, texts: GenerationSession, outbox: SendQueue, *, max_message_bytes: int
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self.batches = batches
        self.texts = texts
        self.outbox = outbox

    @property
    def open_items(self) -> int:
        """Items and texts taken and not answered."""
        return self.batches.open_items + self.texts.open_texts

    def cancel(self, numbers: Iterable[int]) -> None:
        """Nobody waits for these items and texts any more."""
        wanted = set(numbers)
        self.batches.cancel(wanted)
        self.texts.cancel(wanted)

    def abandon(self) -> None:
        """The router has gone."""
        self.batches.abandon()
        self.texts.abandon()

    async def finished(self) -> None:
        """Return when everything that was taken is answered, and all answers are sent."""
        await self.batches.finished.wait()
        await self.texts.finished.wait()
        await self.outbox.flushed()
