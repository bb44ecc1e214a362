"""The workers the router keeps links to: those it was told of at start, and those the fleet names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from services.router.link_owner import LinkOwner
from services.router.pools import Pool
from services.router.worker_link import DEFAULT_MAX_REDIAL_S, WorkerLink


class WorkerPool:
    """Links by address. A link that is up outlives the fleet's mention of it: it is the better evidence."""

    def __init__(
        self, owner: LinkOwner, *, clock: Callable[[], float], max_redial_s: float = DEFAULT_MAX_REDIAL_S
    ) -> None:
        self._owner = owner
        self._max_redial_s = max_redial_s
        self._clock = clock
        self._static: frozenset[str] = frozenset()
        self._links: dict[str, WorkerLink] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def links(self) -> Iterable[WorkerLink]:
        """All links, up or not."""
        return self._links.values()

    @property
    def all_tried(self) -> bool:
        """Whether every worker has been reached, or missed, at least once."""
        return all(link.tried for link in self._links.values())

    def set_static(self, addresses: Iterable[str]) -> None:
        """Use these workers from now on, whatever the fleet says."""
        self._static = frozenset(addresses)
        self.set_fleet(())

    def set_fleet(self, addresses: Iterable[str], *, accelerators: Iterable[str] = ()) -> None:
        """Use these workers beside the static ones; those at `accelerators` are accelerator workers."""
        wanted = self._static | frozenset(addresses)
        for address in wanted - self._links.keys():
            link = WorkerLink(address, self._owner, clock=self._clock, max_redial_s=self._max_redial_s)
            self._links[address] = link
            self._tasks[address] = asyncio.get_running_loop().create_task(link.run(), name=f"link {address}")
        for address in self._links.keys() - wanted:
            if not self._links[address].up:
                del self._links[address]
                self._tasks.pop(address).cancel()
        for address in self._links.keys() & set(accelerators):
            self._links[address].pool = Pool.ACCELERATOR

    async def close(self) -> None:
        """End all links."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._links.clear()
