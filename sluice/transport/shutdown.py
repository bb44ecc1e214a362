"""How a program stops without losing a call: callers are steered away first, and connections end last.

    NOT_SERVING -> lame duck, all is accepted -> listener shut -> connections too old -> open calls end -> closed

A caller that checks health leaves at NOT_SERVING. One that does not is told by gRPC when its connection is too old, and
finds no listener when it dials again. What `grpc.aio` itself offers, `stop`, cancels what arrives within a round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from sluice.transport.settings import Transport, longest_age_s

# A caller that has sent nothing for so long sends hardly anything in the round trip that a stop can lose.
QUIET_S = 1.0
POLL_S = 0.05
# How long what was answered last may take from gRPC to the socket.
FLUSH_S = 0.05

logger = logging.getLogger(__name__)


class Server(Protocol):
    """What is asked of a server that stops; `sluice.transport.server.Server` is one."""

    transport: Transport

    async def set_ready(self, *, ready: bool) -> None:
        """Say whether new work is welcome."""

    def callers(self) -> int:
        """How many connections there are."""

    def busy_callers(self, quiet_s: float) -> Sequence[object]:
        """Who cannot have been told of the stop and has sent something in the last `quiet_s`."""

    def close_listener(self) -> bool:
        """Refuse new connections."""

    async def stop(self, grace_s: float) -> None:
        """End everything."""


async def until_signalled(
    *, or_until: Coroutine[Any, Any, None] | None = None, same_stop_s: float = 0.0
) -> asyncio.Event:
    """Return on the first SIGTERM or SIGINT, or when `or_until` has ended.

    What is returned is set by the second signal. A third one ends the process as the system does by default. What comes
    within `same_stop_s` of the first counts as the first: `timeout` signals its child and then the child's group.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    # SIGINT stays ignored in a program that was started so, as a shell starts what a script runs with `&`.
    numbers = [one for one in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(one) is not signal.SIG_IGN]

    first_at: list[float] = []

    def on_signal() -> None:
        if not stop.is_set():
            first_at.append(loop.time())
            stop.set()
            return
        if first_at and loop.time() - first_at[0] < same_stop_s:
            return
        logger.warning("a second signal came: the program stops at once")
        hurry.set()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    waiting = [asyncio.ensure_future(one) for one in (stop.wait(), or_until) if one is not None]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()
    stop.set()
    return hurry


async def drain(
    server: Server,
    finish: Callable[[], Awaitable[None]],
    *,
    grace_s: float,
    steers: bool = False,
    cut: Callable[[], None] = lambda: None,
    hurry: asyncio.Event | None = None,
) -> None:
    """Stop in order; `finish` ends what is in flight, in at most `grace_s`, and `cut` what is left then.

    `steers`: whether callers that watch no health are waited for, as by a router; others have callers that are members,
    which come back by themselves. Once `hurry` is set nothing is waited for any more.
    """
    hurry = hurry or asyncio.Event()
    logger.info("draining")
    await server.set_ready(ready=False)
    if server.callers():
        await _or_hurry(asyncio.sleep(server.transport.lame_duck_s), hurry)
    if not server.close_listener() and sys.platform == "linux":
        logger.warning("the listener was not found: new connections are accepted until the end")
    if steers and not hurry.is_set():
        await _or_hurry(_until_steered(server), hurry)
    if not await _or_hurry(asyncio.wait_for(finish(), grace_s), hurry):
        cut()
    if server.callers():
        await asyncio.sleep(FLUSH_S)
    await server.stop(0 if hurry.is_set() else 1.0)
    logger.info("stopped")


async def _until_steered(server: Server) -> None:
    """Return when nobody who could not be told of the stop sends calls any more, or has had to leave by now."""
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    limit_s = longest_age_s(server.transport)
    while busy := server.busy_callers(QUIET_S):
        if loop.time() - begun_at >= limit_s:
            extra = {"connections": len(busy), "waited_s": round(loop.time() - begun_at, 1)}
            logger.warning("callers that watch no health are still connected", extra=extra)
            return
        await asyncio.sleep(POLL_S)


async def _or_hurry(work: Awaitable[None], hurry: asyncio.Event) -> bool:
    """Wait for `work` or for `hurry`; whether `work` was done, in its time."""
    task, hurried = asyncio.ensure_future(work), asyncio.ensure_future(hurry.wait())
    await asyncio.wait({task, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not task.done():
        task.cancel()
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        await task
        return True
    return False
