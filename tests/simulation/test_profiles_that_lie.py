"""Profiles that were measured in another situation, in virtual time: by how much they mislead, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from services.router.requests.request import Request
from sluice.domain.enums import QueryClass, Tier
from tests.simulation.offered_load import Fates, offer
from tests.simulation.sim_mesh import Law, SimMesh, sim_mesh
from tests.simulation.tiers import FULL, LIGHT, QUALITY
from tests.simulation.virtual_time import run

LIE = 30.0
SECONDS = 20.0
# A lone text took 53 ms, and the profile of a busy start said 1,619.
SLOW_ON_PAPER = Law(tier=Tier.FULL, fixed_s=1.5, token_s=1e-3, quality=QUALITY[Tier.FULL], device="cuda")
FAST_ON_PAPER = Law(tier=Tier.FULL, fixed_s=0.005, token_s=1e-5, quality=QUALITY[Tier.FULL], device="cuda")


async def _play(
    law: Law, slowness: float, *, rate: float, timeout_s: float, adapt: Callable[[Request], Request]
) -> tuple[Fates, SimMesh]:
    async with sim_mesh() as mesh:
        mesh.add("gpu0", law).slowness = slowness
        mesh.add("cpu0", LIGHT)
        fates = await offer(mesh, lambda at: rate, seconds=SECONDS, seed=1, timeouts_s=(timeout_s,), adapt=adapt)
        return fates, mesh


def play(
    law: Law,
    slowness: float,
    *,
    rate: float = 10,
    timeout_s: float = 0.5,
    adapt: Callable[[Request], Request] = replace,
) -> tuple[Fates, SimMesh]:
    return run(_play(law, slowness, rate=rate, timeout_s=timeout_s, adapt=adapt))


def full_only(request: Request) -> Request:
    return replace(request, minimum_tier=Tier.FULL)


def late(fates: Fates, share: float) -> Fates:
    """The last part of what came."""
    return Fates(all=fates.all[int(len(fates.all) * (1 - share)) :])


@pytest.mark.parametrize("timeout_s", [0.2, 0.5, 1.0])
def test_a_variant_that_is_thought_too_slow_shows_within_seconds_that_it_is_not(timeout_s: float) -> None:
    fates, _ = play(SLOW_ON_PAPER, 1 / LIE, timeout_s=timeout_s, adapt=full_only)
    assert late(fates, 0.75).share_in_time() >= 0.99


def test_complex_requests_come_back_to_the_full_tier_that_was_avoided() -> None:
    fates, _ = play(SLOW_ON_PAPER, 1 / LIE, adapt=lambda one: replace(one, query_class=QueryClass.COMPLEX))
    assert fates.share_in_time(hot=True) == 1.0
    assert fates.share_in_time() >= 0.99
    answered = [one.tier for one in late(fates, 0.5).all]
    assert answered.count(Tier.FULL) >= 0.9 * len(answered)


def test_what_is_learnt_stays_learnt_over_a_pause() -> None:
    async def before_and_after() -> tuple[Fates, Fates]:
        async with sim_mesh() as mesh:
            mesh.add("gpu0", SLOW_ON_PAPER).slowness = 1 / LIE
            quiet = [
                await offer(
                    mesh, lambda at: 10, seconds=10, seed=seed, timeouts_s=(30.0 if seed else 0.5,), adapt=full_only
                )
                for seed in (0, 1)
            ]
            return quiet[0], await offer(mesh, lambda at: 10, seconds=5, seed=2, timeouts_s=(0.5,), adapt=full_only)

    _, after = run(before_and_after())
    assert after.share_in_time() >= 0.97


def test_a_variant_that_is_slow_in_truth_is_probed_ever_more_rarely_and_costs_hot_requests_nothing() -> None:
    def mixed(request: Request) -> Request:
        return request if request.priority >= 0.7 else full_only(request)

    fates, mesh = play(SLOW_ON_PAPER, 1.0, rate=20, adapt=mixed)
    assert fates.share_in_time(hot=True) == 1.0
    assert mesh.workers["gpu0"].computed <= 12


def test_requests_that_others_answer_are_rarely_spent_on_a_variant_that_is_slow_in_truth() -> None:
    fates, _ = play(SLOW_ON_PAPER, 1.0, rate=20, adapt=lambda one: replace(one, query_class=QueryClass.COMPLEX))
    assert fates.share_in_time(hot=True) == 1.0
    assert fates.missed() <= 6


def test_a_profile_that_promises_too_much_is_believed_for_a_moment_only() -> None:
    fates, _ = play(FAST_ON_PAPER, LIE, timeout_s=0.1)
    assert late(fates, 0.9).share_in_time() >= 0.97
    assert late(fates, 0.9).share_in_time(hot=True) == 1.0


@pytest.mark.parametrize(("slowness", "hot", "others"), [(1.0, 0.9, 0.0), (1 / LIE, 0.99, 0.9)], ids=["slow", "fast"])
def test_probes_seldom_hold_up_a_worker_that_answers_hot_requests_too(
    slowness: float, hot: float, others: float
) -> None:
    async def shared() -> Fates:
        law = replace(SLOW_ON_PAPER, device="cpu")
        async with sim_mesh() as mesh:
            worker = mesh.add("cpu0", law, LIGHT)
            true = replace(law, fixed_s=law.fixed_s * slowness, token_s=law.token_s * slowness)
            worker._laws[law.variant.id] = true
            return await offer(
                mesh,
                lambda at: 20,
                seconds=3 * SECONDS,
                seed=1,
                timeouts_s=(0.5,),
                adapt=lambda one: one if one.priority >= 0.7 else full_only(one),
            )

    fates = run(shared())
    assert fates.share_in_time(hot=True) >= hot
    assert fates.share_in_time(hot=False) >= others


def test_an_honest_profile_is_not_probed_at_the_cost_of_anybody() -> None:
    fates, _ = play(FULL, 1.0, rate=50, timeout_s=0.5)
    assert fates.missed() == 0
