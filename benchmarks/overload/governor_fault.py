"""What can befall the governor, as the members see it who dial it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from benchmarks.overload.cast import Cast
from benchmarks.overload.check import Check, at_most, holds
from benchmarks.overload.impostor import Impostor
from benchmarks.overload.proxy import Proxy
from benchmarks.overload.stage import Stage
from sluice.cli.addresses import choose_ports


class Controlled:
    """A scene whose members dial the governor through two proxies: one of the router's, one of the workers'."""

    def __init__(self, stage: Stage, cast: Cast) -> None:
        routers, workers = choose_ports(2)
        self.scene = stage.scene(cast, control=(f"127.0.0.1:{routers}", f"127.0.0.1:{workers}"))
        self.router = Proxy(self.scene.governor, port=routers)
        self.workers = Proxy(self.scene.governor, port=workers)
        self._stack = AsyncExitStack()

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        """Both."""
        return self.router, self.workers

    async def __aenter__(self) -> Self:
        for proxy in self.proxies:
            await self._stack.enter_async_context(proxy)
        await self._stack.enter_async_context(self.scene)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault of `seconds`. `governor` is who directs when it is over, and `checks` is what it saw itself."""

    on: Controlled
    seconds: float
    governor: str
    checks: list[Check] = field(default_factory=list)


async def kill(fault: Fault) -> None:
    """The governor is killed, and started anew with an empty memory."""
    await fault.on.scene.kill("governor")
    await asyncio.sleep(fault.seconds)
    await fault.on.scene.restart("governor")


async def freeze(fault: Fault) -> None:
    """The governor stands still, with its connections open, and goes on later as if nothing had been."""
    fault.on.scene.signal("governor", signal.SIGSTOP)
    await asyncio.sleep(fault.seconds)
    fault.on.scene.signal("governor", signal.SIGCONT)


async def partition(fault: Fault) -> None:
    """Nothing passes between governor and members; then everything does that was held back."""
    for proxy in fault.on.proxies:
        proxy.cut()
    await asyncio.sleep(fault.seconds)
    for proxy in fault.on.proxies:
        proxy.mend()


async def double(fault: Fault) -> None:
    """A second governor has the workers while the first has the router; in the end the second has everybody."""
    fault.governor = await fault.on.scene.add_governor("rival")
    fault.on.workers.turn_to(fault.governor)
    await asyncio.sleep(fault.seconds)
    fault.on.router.turn_to(fault.governor)


async def replay(fault: Fault) -> None:
    """Everybody is led to a governor that replays directives of the past, and back."""
    async with Impostor(port=choose_ports(1)[0]) as impostor:
        for proxy in fault.on.proxies:
            proxy.turn_to(impostor.address)
        await asyncio.sleep(fault.seconds)
        for proxy in fault.on.proxies:
            proxy.turn_to(fault.on.scene.governor)
    fault.checks += [
        holds("replay: stale directives were told", impostor.told > 0),
        at_most("replay: stale directives that were obeyed", impostor.obeyed, 0, direction=True),
    ]


FAULTS: dict[str, Callable[[Fault], Awaitable[None]]] = {
    "kill": kill,
    "freeze": freeze,
    "partition": partition,
    "double": double,
    "replay": replay,
}
# In these nobody directs the members for longer than a lease.
SILENT = frozenset({"kill", "freeze", "partition", "replay"})
