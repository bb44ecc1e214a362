"""The texts that a server writes for us: each has a task of its own, and every one of them ends here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.engine.generation.sequence import StopChecker
from sluice.engine.openai.health import EngineHealth
from sluice.engine.openai.http_client import CompletionChunk, OpenAIClient
from sluice.engine.openai.probe import probe_request
from sluice.engine.openai.request_body import Body, Capabilities, body_of
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationRequest, OnChunks
from sluice.worker.execution.openai_config import OpenAIServer

logger = logging.getLogger(__name__)


# One text on its way: from what the server streams to the pieces that are heard of it.


_LENGTH = "length"
_ABORTED = frozenset({"abort", "error"})


class ActiveStream:
    """Looks for the stop strings and counts. `is_counted` is whether the server has told how many tokens there are.

    Until it tells, each event with new text counts as one token, which is the least that it can be.
    """

    def __init__(self, key: int, prompt: GenerationRequest) -> None:
        self.key = key
        self.is_begun = False
        self.is_counted = False
        self._stops = StopChecker(prompt.stop)
        self._finish: FinishReason | None = None
        self._tokens = 0
        self._prompt_tokens = 0

    def take(self, chunk: CompletionChunk) -> Chunk | None:
        """What is to be heard of `chunk`; None when it is nothing. Raises NoEndpoint when the server gave the text up.

        The piece is the last one when a stop string is complete: then nothing more of the stream is wanted.
        """
        if chunk.finish in _ABORTED:
            raise NoEndpoint("the engine gave the text up")
        self._count(chunk)
        sent = self._stops.push(chunk.text)
        if self._stops.found:
            return self._piece(sent, finish=FinishReason.STOP)
        if chunk.finish:
            self._finish = FinishReason.LENGTH if chunk.finish == _LENGTH else FinishReason.STOP
        is_first, self.is_begun = not self.is_begun, True
        return self._piece(sent) if sent or is_first else None

    def end(self) -> Chunk:
        """The last piece, when the stream has ended. Raises NoEndpoint when it did so before the text."""
        if self._finish is None:
            raise NoEndpoint("the engine's answer broke off")
        return self._piece(self._stops.flush(), finish=self._finish)

    @property
    def is_whole(self) -> bool:
        """Whether the server has said why the text ends, so that only counts may follow."""
        return self._finish is not None

    def fail(self, error: SluiceError) -> Chunk:
        """The last piece of a text that failed. What is held back for a stop string is sent no more."""
        return self._piece("", error=error)

    def _count(self, chunk: CompletionChunk) -> None:
        if chunk.tokens is not None:
            self.is_counted = True
            self._tokens = max(self._tokens, chunk.tokens)
        elif chunk.text and not self.is_counted:
            self._tokens += 1
        self._prompt_tokens = chunk.prompt_tokens or self._prompt_tokens

    def _piece(self, text: str, *, finish: FinishReason | None = None, error: SluiceError | None = None) -> Chunk:
        return Chunk(
            key=self.key,
            text=text,
            tokens=self._tokens,
            prompt_tokens=self._prompt_tokens,
            finish=finish,
            error=error,
        )


# How busy a server is that nobody can look into: by how many of the texts that it may be given it writes.


class SlotUsage:
    """A server that writes half of its `places` for two seconds was busy for one. Changed by one thread only."""

    def __init__(self, places: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._clock = clock
        # One object, so that another thread never sees half of a change: busy seconds, up to when, texts since then.
        self._state = (0.0, clock(), 0)

    @property
    def busy_s(self) -> float:
        """Seconds of work since the start. May be read from any thread."""
        busy_s, since, texts = self._state
        return busy_s + (self._clock() - since) * texts / self._places

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a place for as long as the block runs."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._state = (self.busy_s, self._clock(), self._state[2] + by)


UNLOADED = "the model is unloaded"
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0


class Streams:
    """As a generator's `begin` and `cancel`, on one event loop. Texts beyond `max_generations` wait for their turn.

    `hear` is called once for all that came in one turn of the loop.
    """

    def __init__(
        self, server: OpenAIServer, dialect: Capabilities, occupancy: SlotUsage, *, line: OpenAIClient, hear: OnChunks
    ) -> None:
        self._server = server
        self._dialect = dialect
        self._occupancy = occupancy
        self._line = line
        self._hear = hear
        self._reach = EngineHealth(lambda: line.try_out(probe_request(server)))
        self._places = asyncio.Semaphore(server.max_generations)
        self._open: dict[int, asyncio.Task[Chunk]] = {}
        self._pieces: list[Chunk] = []
        self._is_closing = False
        self._is_uncounted = False

    def begin(self, key: int, prompt: GenerationRequest) -> None:
        """Write on from `prompt`."""
        if "" in prompt.stop:
            problem = "an empty stop string would end the text before it begins"
            self._say(Chunk(key=key, error=InvalidRequest(problem, field="stop")))
            return
        text = ActiveStream(key, prompt)
        task = asyncio.get_running_loop().create_task(self._write(text, prompt))
        self._open[key] = task
        # Also a task that is cancelled before it has run at all comes by here.
        task.add_done_callback(lambda done: self._end(text, done))

    def cancel(self, key: int) -> None:
        """Close the text's stream, by which the server stops writing."""
        if key in self._open:
            self._open[key].cancel()

    async def close(self) -> None:
        """End all texts, and wait until their streams are closed."""
        self._is_closing = True
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reach.close()
        self._deliver()

    async def _write(self, text: ActiveStream, prompt: GenerationRequest) -> Chunk:
        body = body_of(prompt, self._server, self._dialect)
        async with self._places:
            loop = asyncio.get_running_loop()
            patient_until, wait_s = loop.time() + self._server.silence_timeout_s, _FIRST_WAIT_S
            while True:
                await self._reach.wait()
                try:
                    return await self._stream(text, body)
                except NoEndpoint as error:
                    if not text.is_begun:
                        self._reach.lose(error)
                    raise
                except Saturated as error:
                    pause_s = max(wait_s, error.retry_after_s or 0.0)
                    if text.is_begun or loop.time() + pause_s > patient_until:
                        raise
                await asyncio.sleep(pause_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _stream(self, text: ActiveStream, body: Body) -> Chunk:
        with self._occupancy.taken():
            async with aclosing(self._line.write(body)) as chunks:
                try:
                    async for chunk in chunks:
                        piece = text.take(chunk)
                        if piece is not None and piece.is_last:
                            return piece
                        if piece is not None:
                            self._say(piece)
                except SluiceError:
                    # Only the counts are missing when the text is whole, and we have our own.
                    if not text.is_whole:
                        raise
        self._tell_uncounted(text)
        return text.end()

    def _end(self, text: ActiveStream, task: asyncio.Task[Chunk]) -> None:
        del self._open[text.key]
        if task.cancelled():
            unloaded, unwanted = NoEndpoint(UNLOADED), Cancelled("nobody waited for it any more")
            self._say(text.fail(unloaded if self._is_closing else unwanted))
            return
        error = task.exception()
        if error is None:
            self._say(task.result())
        elif isinstance(error, SluiceError):
            self._say(text.fail(error))
        else:
            logger.error("a text failed by a fault of ours", exc_info=error)
            self._say(text.fail(WorkerFailed(f"{type(error).__name__}: {error}")))

    def _say(self, piece: Chunk) -> None:
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._pieces.append(piece)

    def _deliver(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._hear(pieces)

    def _tell_uncounted(self, text: ActiveStream) -> None:
        if text.is_counted or self._is_uncounted:
            return
        self._is_uncounted = True
        logger.warning("the engine counts no tokens; each event with new text counts as one")
