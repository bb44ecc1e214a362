"""Whether the server can be reached: told by the texts that could not be sent, and asked until it can again."""

from __future__ import annotations

import asyncio
import logging

from sluice.engine.openai.line import Line
from sluice.errors import NoEndpoint

HOLD_S = 1.0
_ASK_EVERY_S = 0.5

logger = logging.getLogger(__name__)


class Reach:
    """Holds texts back while the server is away. Use from one event loop.

    A worker that failed every text at once would look like the idlest of all, and draw the mesh's work to itself. So a
    text waits for the server for `hold_s`, its credit with it, before it fails and is tried elsewhere.
    """

    def __init__(self, line: Line, *, hold_s: float = HOLD_S, ask_every_s: float = _ASK_EVERY_S) -> None:
        self._line = line
        self._hold_s = hold_s
        self._ask_every_s = ask_every_s
        self._back = asyncio.Event()
        self._back.set()
        self._why = ""
        self._asking: asyncio.Task[None] | None = None

    @property
    def is_there(self) -> bool:
        """Whether the last attempt to connect succeeded. May be read from any thread."""
        return self._back.is_set()

    async def wait(self) -> None:
        """Return when the server is there. Raises NoEndpoint when it does not come back in time."""
        try:
            async with asyncio.timeout(self._hold_s):
                await self._back.wait()
        except TimeoutError:
            raise NoEndpoint(self._why) from None

    def lose(self, error: NoEndpoint) -> None:
        """A text could not be sent: ask for the server until it answers."""
        self._why = error.message
        if self._back.is_set():
            self._back.clear()
            logger.warning("the engine is away", extra={"why": self._why})
            self._asking = asyncio.create_task(self._ask())

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(self._ask_every_s)
            try:
                await self._line.models()
            except NoEndpoint:
                continue
            logger.info("the engine is back")
            self._back.set()
            return
