"""Priced assignment against what else one could do, on the same arrivals: the real router in virtual time, seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from services.router.requests.request import Request
from sluice.control.directive import Directive
from sluice.domain.enums import Level, QueryClass, Tier
from tests.simulation.offered_load import Fates, Shape, offer
from tests.simulation.sim_mesh import SimMesh, sim_mesh
from tests.simulation.tiers import FULL, LIGHT, QUALITY, QUANTIZED
from tests.simulation.virtual_time import run

SECONDS = 6.0
Adapt = Callable[[Request], Request]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a run's requests, and the seconds that its devices worked."""

    fates: Fates
    device_s: float


def hills(at: float) -> float:
    """Light load, twice what the accelerator can do for a third of the time, light load again."""
    return 850.0 if SECONDS / 3 < at < 2 * SECONDS / 3 else 250.0


def as_asked(request: Request) -> Request:
    return request


def classed(request: Request) -> Request:
    """As callers do who name a class: by the text's length."""
    wanted = QueryClass.COMPLEX if len(request.text) > 200 else QueryClass.SIMPLE
    return replace(request, query_class=wanted)


async def _simulate(adapt: Callable[[SimMesh], Adapt], rate: Shape, seed: int, settings: dict[str, Any]) -> Run:
    async with sim_mesh(admission="caps", **settings) as mesh:
        mesh.add("gpu", FULL, seed=seed)
        mesh.add("cpu", LIGHT, QUANTIZED, seed=seed)
        fates = await offer(mesh, rate, seconds=SECONDS, seed=seed, adapt=adapt(mesh))
        return Run(fates=fates, device_s=sum(worker.busy_s for worker in mesh.workers.values()))


def simulate(adapt: Callable[[SimMesh], Adapt], rate: Shape = hills, *, seed: int, **settings: Any) -> Run:
    return run(_simulate(adapt, rate, seed, settings))


def priced(seed: int, rate: Shape = hills, adapt: Adapt = as_asked) -> Run:
    return simulate(lambda mesh: adapt, rate, seed=seed)


def by_preference(seed: int, rate: Shape = hills, adapt: Adapt = as_asked) -> Run:
    return simulate(lambda mesh: adapt, rate, seed=seed, assignment="preference")


def always_full(seed: int) -> Run:
    return by_preference(seed, adapt=lambda request: replace(request, minimum_tier=Tier.FULL))


def always_light(seed: int) -> Run:
    return by_preference(seed, adapt=lambda request: replace(request, query_class=QueryClass.SIMPLE))


def by_threshold(seed: int) -> Run:
    """Everything to the full tier until its queue is long, then everything to the light one until it is short."""

    def switching(mesh: SimMesh) -> Adapt:
        is_light = False

        def adapt(request: Request) -> Request:
            nonlocal is_light
            waiting = len(mesh.router.dispatcher.queue(FULL.variant.id))
            is_light = waiting > 300 or (is_light and waiting > 30)
            return replace(request, query_class=QueryClass.SIMPLE if is_light else QueryClass.COMPLEX)

        return adapt

    return simulate(switching, seed=seed, assignment="preference")


@pytest.mark.parametrize("seed", [1, 2])
def test_at_nearly_the_quality_of_the_full_model_answers_come_much_sooner_for_little_more_hardware(seed: int) -> None:
    ours, full = priced(seed), always_full(seed)
    assert ours.fates.accuracy(QUALITY) >= 0.98
    assert ours.fates.mean_s() <= 0.35 * full.fates.mean_s()
    assert ours.device_s <= 1.15 * full.device_s
    assert ours.fates.missed() < full.fates.missed() / 4


@pytest.mark.parametrize("seed", [1, 2])
def test_fewer_deadlines_are_missed_than_by_switching_at_a_threshold(seed: int) -> None:
    ours, other = priced(seed), by_threshold(seed)
    assert other.fates.missed() > 0
    assert ours.fates.missed() <= other.fates.missed() / 4


def test_answers_are_better_than_from_the_light_model_alone() -> None:
    ours, light = priced(3), always_light(3)
    assert ours.fates.accuracy(QUALITY) > light.fates.accuracy(QUALITY)
    assert ours.fates.missed() <= light.fates.missed()


def test_who_names_a_class_loses_fewer_deadlines_than_by_the_fixed_policy_and_hot_work_none() -> None:
    ours, fixed = priced(4, lambda at: 1_100.0, classed), by_preference(4, lambda at: 1_100.0, classed)
    assert fixed.fates.missed() > 1_000
    assert ours.fates.missed() <= fixed.fates.missed() / 4
    assert ours.fates.share_in_time(hot=True) >= 0.999 > fixed.fates.share_in_time(hot=True)


def test_under_light_load_a_named_class_has_its_tier_always() -> None:
    ours = priced(5, lambda at: 120.0, classed)
    assert {one.tier for one in ours.fates.all if one.complexity > 3} == {Tier.FULL}
    assert {one.tier for one in ours.fates.all if one.complexity < 2} == {Tier.LIGHT}
    assert ours.fates.missed() == 0


def test_beyond_all_capacity_hot_work_is_still_in_time() -> None:
    ours, fixed = priced(6, lambda at: 2_600.0), by_preference(6, lambda at: 2_600.0)
    assert ours.fates.share_in_time(hot=True) >= 0.999 > fixed.fates.share_in_time(hot=True)
    assert ours.fates.share_in_time() > fixed.fates.share_in_time()


async def _shares(level: Level, share: float) -> tuple[float, float]:
    async with sim_mesh(admission="caps") as mesh:
        mesh.add("gpu", FULL)
        mesh.add("cpu", LIGHT, QUANTIZED)
        order = Directive(epoch=1, revision=1, levels=(level,), offload_share=share, lighten_share=share)
        mesh.directives.apply(order, 0.0)
        wanted = lambda request: replace(request, query_class=QueryClass.COMPLEX)  # noqa: E731
        fates = await offer(mesh, lambda at: 150.0, seconds=6.0, seed=7, adapt=wanted)
        full = [[one.tier is Tier.FULL for one in fates.all if one.hot is hot] for hot in (True, False)]
        assert fates.missed() == 0
        return sum(full[0]) / len(full[0]), sum(full[1]) / len(full[1])


def test_level_one_takes_its_share_of_cold_work_from_the_accelerator_and_leaves_hot_work_there() -> None:
    hot, cold = run(_shares(Level.OFFLOAD, 0.4))
    assert hot == 1.0
    assert cold == pytest.approx(0.6, abs=0.06)


def test_level_two_takes_its_share_of_the_full_tiers_work() -> None:
    hot, cold = run(_shares(Level.LIGHTEN, 0.4))
    assert (hot, cold) == (pytest.approx(0.6, abs=0.12), pytest.approx(0.6, abs=0.06))


async def _lending(*workers: str) -> Fates:
    async with sim_mesh(admission="caps") as mesh:
        for name in workers:
            mesh.add(name, *((FULL,) if name == "gpu" else (LIGHT, QUANTIZED)))
        return await offer(mesh, lambda at: 100.0, seconds=4.0, seed=8)


def test_idle_capacity_is_lent_both_ways() -> None:
    both = run(_lending("gpu", "cpu"))
    assert {one.worker for one in both.all if not one.hot} == {"gpu", "cpu"}
    for only in ("gpu", "cpu"):
        fates = run(_lending(only))
        assert {one.worker for one in fates.all} == {only}
        assert fates.missed() == 0


def test_the_same_seed_gives_the_same_run() -> None:
    one, other = priced(9), priced(9)
    assert [(fate.tier, fate.took_s) for fate in one.fates.all] == [
        (fate.tier, fate.took_s) for fate in other.fates.all
    ]
