"""Open-loop load in virtual time, and what became of it: nobody waits for an answer before asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from services.router.requests.request import InferResult, Outcome, Request
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import SluiceError
from tests.simulation.sim_mesh import MODEL, SimMesh

# A sentence of the demo's messages for each step of complexity; the router's own judgement tells them apart.
SENTENCE = "I would like to know where the parcel is that I ordered. "
CLASSES = (QueryClass.SIMPLE, QueryClass.COMPLEX, QueryClass.REAL_TIME)
HOT = 0.7


@dataclass(slots=True, kw_only=True)
class Fate:
    """One request, and how it ended. `complexity` is the bucket, 0 to 7; `took_s` from the scheduled arrival."""

    complexity: int
    hot: bool
    timeout_s: float
    took_s: float = float("inf")
    tier: Tier = Tier.UNSPECIFIED
    worker: str = ""
    reason: str = ""

    @property
    def is_in_time(self) -> bool:
        """Whether it was answered within its deadline."""
        return not self.reason and self.took_s <= self.timeout_s


@dataclass(slots=True, kw_only=True)
class Fates:
    """All requests of a run, in the order in which they came."""

    all: list[Fate] = field(default_factory=list)

    def share_in_time(self, *, hot: bool | None = None) -> float:
        """Of all that was offered (of one class)."""
        chosen = [one for one in self.all if hot is None or one.hot is hot]
        return sum(one.is_in_time for one in chosen) / max(1, len(chosen))

    def missed(self) -> int:
        """Requests that were not answered in time, whatever the reason."""
        return sum(not one.is_in_time for one in self.all)

    def mean_s(self) -> float:
        """Mean response of what was answered."""
        took = [one.took_s for one in self.all if not one.reason]
        return sum(took) / max(1, len(took))

    def accuracy(self, quality: dict[Tier, tuple[float, ...]]) -> float:
        """Of what was answered in time, as a share of what the full tier would have had right."""
        answered = [one for one in self.all if one.is_in_time]
        own = sum(quality[one.tier][one.complexity] for one in answered)
        return own / max(1e-9, sum(quality[Tier.FULL][one.complexity] for one in answered))


Shape = Callable[[float], float]
"""Requests per second at an instant of the run."""


async def offer(
    mesh: SimMesh,
    rate: Shape,
    *,
    seconds: float,
    seed: int,
    hot_share: float = 0.2,
    timeouts_s: tuple[float, ...] = (1.0, 2.0, 5.0),
    adapt: Callable[[Request], Request] = replace,
) -> Fates:
    """Poisson arrivals at `rate` for `seconds`, waited for to their ends. `adapt` may change every request."""
    dice, loop = Random(seed), asyncio.get_running_loop()
    fates, begun_at, at = Fates(), loop.time(), loop.time()
    while (at := at + dice.expovariate(max(1e-6, rate(at - begun_at)))) < begun_at + seconds:
        await asyncio.sleep(at - loop.time())
        fate = Fate(complexity=dice.randrange(8), hot=dice.random() < hot_share, timeout_s=dice.choice(timeouts_s))
        fates.all.append(fate)
        request = Request(
            model=MODEL,
            text=SENTENCE * (1 + fate.complexity),
            deadline=at + fate.timeout_s,
            priority=dice.uniform(HOT, 1.0) if fate.hot else dice.uniform(0.0, HOT - 1e-6),
        )
        _submit(mesh, adapt(request), fate, at)
    await asyncio.sleep(max(timeouts_s) + 1.0)
    assert mesh.router.open_requests == 0
    return fates


def _submit(mesh: SimMesh, request: Request, fate: Fate, at: float) -> None:
    loop = asyncio.get_running_loop()

    def on_done(outcome: Outcome) -> None:
        fate.took_s = loop.time() - at
        if isinstance(outcome, InferResult):
            fate.tier, fate.worker = outcome.variant.tier, outcome.worker
        else:
            fate.reason = outcome.reason.value

    try:
        mesh.router.submit(request, on_done)
    except SluiceError as error:
        fate.reason = error.reason.value
