"""The texts that a server writes for us: each has a task of its own, and every one of them ends here."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.engine.openai.health import Reach
from sluice.engine.openai.http_client import Line
from sluice.engine.openai.occupancy import Occupancy
from sluice.engine.openai.probe import question
from sluice.engine.openai.request_body import Body, Dialect, body_of
from sluice.engine.openai.text import Text
from sluice.worker.execution.generator import Hear, Piece, Prompt
from sluice.worker.execution.openai_config import OpenAIServer

UNLOADED = "the model is unloaded"
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 2.0

logger = logging.getLogger(__name__)


class Streams:
    """As a generator's `begin` and `cancel`, on one event loop. Texts beyond `max_generations` wait for their turn.

    `hear` is called once for all that came in one turn of the loop.
    """

    def __init__(self, server: OpenAIServer, dialect: Dialect, occupancy: Occupancy, *, line: Line, hear: Hear) -> None:
        self._server = server
        self._dialect = dialect
        self._occupancy = occupancy
        self._line = line
        self._hear = hear
        self._reach = Reach(lambda: line.try_out(question(server)))
        self._places = asyncio.Semaphore(server.max_generations)
        self._open: dict[int, asyncio.Task[Piece]] = {}
        self._pieces: list[Piece] = []
        self._is_closing = False
        self._is_uncounted = False

    def begin(self, key: int, prompt: Prompt) -> None:
        """Write on from `prompt`."""
        if "" in prompt.stop:
            problem = "an empty stop string would end the text before it begins"
            self._say(Piece(key=key, error=InvalidRequest(problem, field="stop")))
            return
        text = Text(key, prompt)
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

    async def _write(self, text: Text, prompt: Prompt) -> Piece:
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

    async def _stream(self, text: Text, body: Body) -> Piece:
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

    def _end(self, text: Text, task: asyncio.Task[Piece]) -> None:
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

    def _say(self, piece: Piece) -> None:
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._pieces.append(piece)

    def _deliver(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._hear(pieces)

    def _tell_uncounted(self, text: Text) -> None:
        if text.is_counted or self._is_uncounted:
            return
        self._is_uncounted = True
        logger.warning("the engine counts no tokens; each event with new text counts as one")
