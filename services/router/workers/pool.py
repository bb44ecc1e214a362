"""The workers that the router keeps links to: one for each address of those that are configured or in the fleet.

Names are looked up again every second, and every address that they have is dialled. A process that is reached at
several addresses is used over the first of its links that is up.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from services.router.requests.device_pool import DevicePool
from services.router.workers.client import DEFAULT_MAX_REDIAL_S, WorkerClient
from services.router.workers.endpoints import Evidence, RosterIndex, Standing, standing_of
from services.router.workers.listener import WorkerListener
from sluice.control.identity import DEFAULT_MESH
from sluice.control.roster import Roster
from sluice.runtime.logging import LimitedLog
from sluice.transport.resolver import RESOLVE_INTERVAL_S, ResolveError, Resolver, follow, is_literal

logger = logging.getLogger(__name__)
limited = LimitedLog(logger)


@dataclass(slots=True)
class _Endpoint:
    """One address "IP:PORT". `names` are the addresses, as configured or advertised, that it was found under."""

    link: WorkerClient
    task: asyncio.Task[None]
    names: set[str] = field(default_factory=set)
    named_at: float = -math.inf
    standing: Standing = Standing.USE

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for at an endpoint that is used no more."""
        has_work = self.link.up and (self.link.open or self.link.texts.open)
        return self.standing is not Standing.USE and not has_work


@dataclass(slots=True)
class _Name:
    """One address as configured or advertised. `known` are its endpoints; `tried`: it was looked up once."""

    known: dict[str, int] = field(default_factory=dict)
    tried: bool = False


class WorkerPool:
    """Links by endpoint. What is done with each is decided by `standing_of`. Use from one event loop only."""

    def __init__(
        self,
        owner: WorkerListener,
        *,
        clock: Callable[[], float],
        max_redial_s: float = DEFAULT_MAX_REDIAL_S,
        mesh: str = DEFAULT_MESH,
        resolver: Resolver | None = None,
    ) -> None:
        self._owner = owner
        self._clock = clock
        self._max_redial_s = max_redial_s
        self._mesh = mesh
        self._resolver = resolver
        self._static: frozenset[str] = frozenset()
        self._roster = RosterIndex(Roster())
        self._names: dict[str, _Name] = {}
        self._endpoints: dict[str, _Endpoint] = {}
        self._maintenance: asyncio.Task[None] | None = None

    def links(self) -> Iterable[WorkerClient]:
        """All links, up or not."""
        return [one.link for one in self._endpoints.values()]

    @property
    def all_tried(self) -> bool:
        """Whether every name was looked up, and every worker reached, or missed, at least once."""
        return all(name.tried for name in self._names.values()) and all(link.tried for link in self.links())

    def set_static(self, addresses: Iterable[str]) -> None:
        """Use these workers from now on, whatever the fleet says."""
        self._static = frozenset(addresses)
        self._follow_names()

    def set_roster(self, roster: Roster) -> None:
        """Take the newest fleet that a governor has told. A governor's silence changes nothing."""
        self._roster = RosterIndex(roster)
        self._follow_names()

    def on_worker_changed(self) -> None:
        """A link went up or down, and maybe to another process: see over which ones processes are used."""
        used: set[str] = set()
        for endpoint in self._endpoints.values():
            link = endpoint.link
            link.resting = endpoint.standing is not Standing.USE or (link.up and link.boot in used)
            if link.is_serving and link.boot:
                used.add(link.boot)

    async def close(self) -> None:
        """End all links."""
        tasks = [one.task for one in self._endpoints.values()]
        tasks += [self._maintenance] if self._maintenance is not None else []
        self._maintenance = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._endpoints.clear()

    def _follow_names(self) -> None:
        """Know the names that are wanted now, and no others; what needs no look-up is there at once."""
        names = self._static | {one.address for one in self._roster.workers}
        self._names = {name: self._names.get(name) or _Name() for name in sorted(names)}
        for name, state in self._names.items():
            if is_literal(name):
                state.known, state.tried = {name: 0}, True
        self._changed()
        if self._maintenance is None and (self._roster.workers or not all(map(is_literal, names))):
            self._maintenance = asyncio.get_running_loop().create_task(self._maintain(), name="workers' names")

    async def _maintain(self) -> None:
        self._resolver = self._resolver or Resolver()
        while True:
            unknown = [name for name in self._names if not is_literal(name)]
            await asyncio.gather(*(self._look_up(name, self._resolver) for name in unknown))
            self._changed()
            await asyncio.sleep(RESOLVE_INTERVAL_S)

    async def _look_up(self, name: str, resolver: Resolver) -> None:
        answer = None
        try:
            answer = await resolver.resolve(name)
        except ResolveError as error:
            message = "A worker's name cannot be resolved; its last addresses are kept."
            limited.warning(message, worker=name, why=str(error))
        state = self._names.get(name)
        if state is None:
            return
        before, state.known, state.tried = state.known.keys(), follow(state.known, answer), True
        if before != state.known.keys():
            extra = {"worker": name, "addresses": sorted(state.known)}
            logger.info("A worker's name has other addresses now.", extra=extra)
            self._changed()

    def _wanted(self) -> dict[str, set[str]]:
        """Endpoints that somebody names now, with the names."""
        found: dict[str, set[str]] = {}
        for name, state in self._names.items():
            for address in state.known:
                found.setdefault(address, set()).add(name)
        return found

    def _may_begin(self, names: set[str]) -> bool:
        word = self._roster.word_of(names=names, ever_named=names, boot="")
        return bool(names & self._static) or (word.is_member and not word.says_draining)

    def _begin(self, address: str) -> None:
        link = WorkerClient(address, self._owner, clock=self._clock, max_redial_s=self._max_redial_s, mesh=self._mesh)
        task = asyncio.get_running_loop().create_task(link.run(), name=f"link {address}")
        self._endpoints[address] = _Endpoint(link, task)

    def _changed(self) -> None:
        """Look at all that is known, begin and end links accordingly, and tell the owner if others are used now."""
        serving = {address for address, one in self._endpoints.items() if one.link.is_serving}
        wanted, now = self._wanted(), self._clock()
        for address, names in wanted.items():
            if address not in self._endpoints and self._may_begin(names):
                self._begin(address)
        ended: list[WorkerClient] = []
        for address, endpoint in list(self._endpoints.items()):
            self._judge(endpoint, wanted.get(address, set()), now)
            if endpoint.is_over:
                del self._endpoints[address]
                endpoint.task.cancel()
                ended.append(endpoint.link)
        self.on_worker_changed()
        other = [
            one.link for address, one in self._endpoints.items() if one.link.is_serving is not (address in serving)
        ]
        if other or ended:
            self._owner.on_worker_changed((other or ended)[0])

    def _judge(self, endpoint: _Endpoint, names: set[str], now: float) -> None:
        link, before = endpoint.link, endpoint.standing
        endpoint.names |= names
        if names or link.up:
            endpoint.named_at = now
        if self._roster.is_accelerator(names):
            link.pool = DevicePool.ACCELERATOR
        word = self._roster.word_of(names=names, ever_named=endpoint.names, boot=link.boot)
        is_static = bool(names & self._static)
        endpoint.standing = standing_of(
            Evidence(
                is_static=is_static,
                left_name=bool(endpoint.names & self._static) and not is_static,
                is_member=word.is_member,
                says_draining=word.says_draining,
                departure=word.departure,
                names_others=word.names_others,
                up=link.up,
                unnamed_s=now - endpoint.named_at,
            )
        )
        if endpoint.standing is not before:
            extra = {"worker": link.worker, "address": link.address, "standing": endpoint.standing.value}
            logger.info("The router changed its use of a worker.", extra=extra)
