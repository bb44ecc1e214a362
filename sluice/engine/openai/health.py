"""Whether the server serves: told by the texts that could not be begun, and asked until it does again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sluice.domain.errors import NoEndpoint, SluiceError

HOLD_S = 1.0
ASK_EVERY_S = 0.5

logger = logging.getLogger(__name__)


class EngineHealth:
    """Holds texts back while the server is away. `ask` raises while it is. Use from one event loop.

    A worker that failed every text at once would look like the idlest of all, and draw the mesh's work to itself. So a
    text waits for the server for HOLD_S, its credit with it, before it fails and is tried elsewhere.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        self._ask = ask
        self._back = asyncio.Event()
        self._back.set()
        self._why = ""
        self._asking: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return when the server is there. Raises NoEndpoint when it does not come back in time."""
        if self._back.is_set():
            return
        try:
            async with asyncio.timeout(HOLD_S):
                await self._back.wait()
        except TimeoutError:
            raise NoEndpoint(self._why) from None

    def lose(self, error: NoEndpoint) -> None:
        """A text could not be begun: ask for the server until it answers."""
        self._why = error.message
        if self._back.is_set():
            self._back.clear()
            logger.warning("the engine is away", extra={"why": self._why})
            self._asking = asyncio.create_task(self._keep_asking())

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _keep_asking(self) -> None:
        while True:
            try:
                await self._ask()
            except SluiceError:
                await asyncio.sleep(ASK_EVERY_S)
                continue
            logger.info("the engine is back")
            self._back.set()
            return
