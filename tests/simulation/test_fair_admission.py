"""Admission per resource and per caller, in thousands of seeded situations of the pure laws."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from services.router.admission.controller import AdmissionController
from services.router.admission.demand import EdgeDemand
from services.router.admission.hard_limits import Queued
from services.router.admission.resource import TICK_S, Resource, Waiting
from services.router.requests.caller import Caller
from sluice.domain.enums import Tier
from sluice.domain.errors import Outranked, Saturated
from tests.unit.router.groups import group, variant

COST_S = 1e-3
# Device-seconds a second: what one worker does.
CAPACITY = 1.0
TIMEOUT_S = 1.0


@dataclass
class Pool:
    """One group of workers as a fluid that is served in order of coming, by callers in turn."""

    model: str
    generates: bool = False
    waiting: dict[str, deque[float]] = field(default_factory=dict)

    @property
    def backlog(self) -> int:
        """Requests that wait."""
        return sum(len(held) for held in self.waiting.values())

    @property
    def variant_id(self) -> str:
        """The only variant that it serves."""
        return self.card.id

    @property
    def card(self):  # type: ignore[no-untyped-def]
        """Its card."""
        return variant(self.model, Tier.FULL, generates=self.generates)

    def serve(self, admission: AdmissionController, now: float) -> None:
        """What a tick's time is enough for, from every caller alike. What is late has left before."""
        for name, held in list(self.waiting.items()):
            while held and held[0] < now:
                held.popleft()
                admission.release(1, caller=name, model=self.model)
            if not held:
                del self.waiting[name]
        left = round(CAPACITY * TICK_S / COST_S)
        while left and self.waiting:
            for name in list(self.waiting):
                if left:
                    left -= 1
                    self.waiting[name].popleft()
                    if not self.waiting[name]:
                        del self.waiting[name]
                    admission.served(self.variant_id, COST_S)
                    admission.release(1, caller=name, model=self.model)


class Town:
    """Pools of their own models behind one admission, and what each caller was told."""

    def __init__(self, models: int, seed: int) -> None:
        self.pools = [Pool(f"m{number}", generates=number == 1) for number in range(models)]
        self.admission = AdmissionController(
            max_requests=20_000,
            max_bytes=10**9,
            queued=lambda name, caller, hot: self._queued(name, caller),
            dice=Random(seed).random,
        )
        groups = [group(one.card, workers=(f"w{number}",)) for number, one in enumerate(self.pools)]
        self.admission.regroup(groups)
        self.now = 0.0
        self.offered: dict[tuple[int, str], int] = {}
        self.refused: dict[tuple[int, str], int] = {}

    def resource(self, place: int) -> Resource:
        """The law of one pool."""
        return self.admission.resources[place]

    def tick(self, rates: dict[tuple[int, str], float], dice: Random, *, stopped: frozenset[int] = frozenset()) -> None:
        """A tenth of a second of arrivals at `rates` by pool and caller; pools that are `stopped` serve nothing."""
        arrivals = [key for key, rate in rates.items() for _ in range(_poisson(rate * TICK_S, dice))]
        dice.shuffle(arrivals)
        for place, caller in arrivals:
            self._offer(place, caller)
        for place, pool in enumerate(self.pools):
            if place not in stopped:
                pool.serve(self.admission, self.now)
        self.now += TICK_S
        found = {one.variant_id: Waiting(COST_S * one.backlog, 0.0, 0.0) for one in self.pools if one.waiting}
        self.admission.tick(self.now, admit_scale=1.0, waiting=found)

    def _offer(self, place: int, caller: str) -> None:
        pool = self.pools[place]
        demand = EdgeDemand(priority=0.5, hot=False, model=pool.model, generates=pool.generates, caller=Caller(caller))
        self.offered[place, caller] = self.offered.get((place, caller), 0) + 1
        try:
            self.admission.admit(demand, size=1, cost=COST_S, now=self.now)
        except Saturated:
            self.refused[place, caller] = self.refused.get((place, caller), 0) + 1
            return
        self.admission.placed(demand, pool.variant_id, cost=COST_S, timeout_s=TIMEOUT_S)
        pool.waiting.setdefault(caller, deque()).append(self.now + TIMEOUT_S)

    def _queued(self, name: str, caller: str) -> Queued:
        (pool,) = (one for one in self.pools if one.variant_id == name)
        return Queued(COST_S * len(pool.waiting.get(caller, ())), len(pool.waiting))


def _poisson(mean: float, dice: Random) -> int:
    count, passed = 0, dice.expovariate(1.0)
    while passed < mean:
        count += 1
        passed += dice.expovariate(1.0)
    return count


@pytest.mark.parametrize("seed", range(10))
def test_a_caller_below_its_fair_share_is_refused_nothing_to_speak_of(seed: int) -> None:
    """Floods of any number and size, and polite callers who ask a part of what max-min fairness gives them."""
    dice = Random(seed)
    town = Town(1, seed)
    floods = {f"flood{number}": dice.uniform(1.0, 4.0) * 1_000 for number in range(dice.randint(1, 4))}
    polite = [f"polite{number}" for number in range(dice.randint(1, 8))]
    share = CAPACITY / COST_S / (len(floods) + len(polite))
    rates = {(0, name): dice.uniform(0.02, 0.9) * share for name in polite}
    rates |= {(0, name): rate for name, rate in floods.items()}
    for tick in range(80):
        if tick == 5:
            town.offered, town.refused = {}, {}
        town.tick(rates, dice)
    assert town.resource(0).theta > 0.0
    for name in polite:
        refused, offered = town.refused.get((0, name), 0), town.offered[0, name]
        assert refused <= 1 + 0.02 * offered, (name, refused, offered, share)
    assert sum(town.refused.values()) > 0


@pytest.mark.parametrize("seed", range(10))
def test_another_pools_overload_changes_no_decision(seed: int) -> None:
    """The same arrivals at one pool, beside pools that are quiet and beside others that are flooded or stopped."""
    dice = Random(f"town {seed}")
    own_rate = dice.uniform(0.1, 3.0) * 1_000
    callers = {f"c{number}": dice.random() for number in range(3)}
    total = sum(callers.values())
    rates = {(0, name): own_rate * part / total for name, part in callers.items()}
    others = {(place, "flood"): dice.uniform(1.5, 3.0) * 1_000 for place in (1, 2)}
    stopped = frozenset({2} if seed % 2 else set())

    def refused(beside: dict[tuple[int, str], float]) -> dict[tuple[int, str], int]:
        town = Town(3, seed)
        own, foreign = Random(seed), Random(seed + 1)
        for _ in range(50):
            # Both kinds of arrivals have dice of their own, so that the pool's are the same in either run.
            town_rates = _Both(rates, beside, own, foreign)
            town_rates.play(town, stopped)
        return {key: count for key, count in town.refused.items() if key[0] == 0}

    assert refused({}) == refused(others)


class _Both:
    def __init__(self, own: dict[tuple[int, str], float], beside: dict[tuple[int, str], float], dice: Random,
                 foreign: Random) -> None:  # fmt: skip
        self._arrivals = [key for key, rate in own.items() for _ in range(_poisson(rate * TICK_S, dice))]
        self._beside = [key for key, rate in beside.items() for _ in range(_poisson(rate * TICK_S, foreign))]

    def play(self, town: Town, stopped: frozenset[int]) -> None:
        """One tick."""
        for place, caller in (*self._arrivals, *self._beside):
            town._offer(place, caller)
        town.tick({}, Random(0), stopped=stopped)


@pytest.mark.parametrize("seed", range(200))
def test_what_any_acceptable_pool_has_room_for_is_let_in_and_only_there(seed: int) -> None:
    """Random overloads of three pools that serve one model in three tiers; every minimum tier is asked for."""
    dice = Random(f"room {seed}")
    tiers = (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED)
    cards = {tier: variant("m", tier) for tier in tiers}
    admission = AdmissionController(max_requests=10**6, max_bytes=10**9, dice=dice.random)
    admission.regroup([group(card, workers=(tier.label,)) for tier, card in cards.items()])
    flooded = {tier: dice.random() < 0.5 for tier in tiers}
    now = 0.0
    for _ in range(15):
        for tier, card in cards.items():
            for number in range(300 if flooded[tier] else 50):
                demand = EdgeDemand(priority=number / 300, hot=False, model="m", minimum_tier=tier)
                admission.placed(demand, card.id, cost=COST_S, timeout_s=TIMEOUT_S)
            for _ in range(100 if flooded[tier] else 50):
                admission.served(card.id, COST_S)
        now += TICK_S
        found = {cards[tier].id: Waiting(0.4, 0.0, 0.0) for tier in tiers if flooded[tier]}
        admission.tick(now, admit_scale=1.0, waiting=found)
    laws = dict(zip(tiers, admission.resources, strict=True))
    assert {tier for tier in tiers if laws[tier].theta > 0} == {tier for tier in tiers if flooded[tier]}
    for minimum in (Tier.UNSPECIFIED, *tiers):
        acceptable = [tier for tier in tiers if tier >= minimum]
        demand = EdgeDemand(priority=0.01, hot=False, model="m", minimum_tier=minimum)
        at_the_door = admission.reject_early(demand, now=now)
        if all(flooded[tier] for tier in acceptable):
            assert at_the_door is not None
            with pytest.raises(Outranked):
                admission.admit(demand, size=1, cost=COST_S, now=now)
        else:
            assert at_the_door is None
            closed = admission.admit(demand, size=1, cost=COST_S, now=now)
            assert closed == {cards[tier].id for tier in acceptable if flooded[tier]}
