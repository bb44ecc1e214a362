"""Texts in virtual time: workers that write come, go, freeze and die, and every text still ends exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from sluice.domain.enums import Tier
from tests.simulation.offered_load import Fates, offer
from tests.simulation.sim_mesh import sim_mesh
from tests.simulation.sim_scribe import STEP_S, SimScribe, TextFate, offer_texts, scribe
from tests.simulation.tiers import FULL, LIGHT, QUANTIZED
from tests.simulation.virtual_time import run


async def _meddle(scribes: list[SimScribe], seed: int) -> None:
    dice = Random(f"meddle/{seed}")
    while True:
        await asyncio.sleep(dice.expovariate(4.0))
        one = dice.choice(scribes)
        what = dice.randrange(5)
        if what == 0:
            one.die()
        elif what == 1:
            one.withdraw()
        elif what == 2:
            one.is_frozen = not one.is_frozen
        for other in scribes:
            if dice.random() < 0.7:
                other.connect()
                other.offer()
                other.is_frozen = other.is_frozen and what == 2


@pytest.mark.parametrize("seed", range(4))
def test_every_text_ends_exactly_once_whatever_becomes_of_workers_and_callers(seed: int) -> None:
    async def scenario() -> list[TextFate]:
        async with sim_mesh() as mesh:
            scribes = [scribe(mesh, f"gpu{number}") for number in range(3)]
            scribes.append(scribe(mesh, "cpu", tier=Tier.LIGHT))
            meddling = asyncio.create_task(_meddle(scribes, seed))
            fates = await offer_texts(mesh, rate=40.0, seconds=20.0, seed=seed)
            meddling.cancel()
            router = mesh.router
            assert sum(router.ledger.outcomes.values()) == len(fates)
            assert router.open_requests == router.texts.open == router.admission.size == 0
            assert router.dispatcher.waiting() == (0, 0)
            for one in scribes:
                one.connect()
                one.is_frozen = False
            await asyncio.sleep(3.0)
            assert not any(one.texts.open for one in scribes), "a worker still writes what nobody reads"
            return fates

    fates = run(scenario())
    assert {fate.ends for fate in fates} == {1}
    for fate in fates:
        # Whatever was read of it, one worker wrote it, and not a token is missing or there twice.
        assert len(set(fate.words)) <= 1
        assert len(fate.words) == fate.tokens
        assert (fate.tokens == fate.wanted) or fate.reason
        if fate.reason == "worker-lost":
            assert fate.metadata == {"tokens": str(fate.tokens)}
            assert fate.tokens
    reasons = Counter(fate.reason for fate in fates)
    assert reasons[""] > len(fates) / 4
    assert reasons["worker-lost"]
    assert reasons["cancelled"]


def test_without_trouble_every_text_is_written_and_memory_bounds_only_the_wait() -> None:
    async def scenario() -> list[TextFate]:
        async with sim_mesh() as mesh:
            scribe(mesh, "gpu", room=4)
            return await offer_texts(mesh, rate=2.0, seconds=20.0, seed=1, leaves=0.0, mean_tokens=20)

    fates = run(scenario())
    assert {fate.reason for fate in fates} == {""}
    assert max(fate.took_s for fate in fates) > max(fate.wanted for fate in fates) * STEP_S / 4


def test_under_overload_hot_texts_are_written_and_cold_ones_are_refused_or_late() -> None:
    async def scenario() -> list[TextFate]:
        async with sim_mesh() as mesh:
            # About ten texts a second can be written, and thirty are wanted, six of them hot.
            scribe(mesh, "gpu", room=8)
            return await offer_texts(mesh, rate=30.0, seconds=60.0, seed=2, leaves=0.0)

    fates = run(scenario())[600:]
    hot = [fate for fate in fates if fate.hot]
    cold = [fate for fate in fates if not fate.hot]
    assert sum(not fate.reason for fate in hot) / len(hot) > 0.9
    assert sum(not fate.reason for fate in cold) / len(cold) < 0.6
    assert {fate.reason for fate in cold} & {"rejected-priority", "rejected-saturated"}


async def _classified(*, texts: bool) -> Fates:
    async with sim_mesh() as mesh:
        mesh.add("gpu", FULL)
        mesh.add("cpu", LIGHT, QUANTIZED)
        writing: list[asyncio.Task[list[TextFate]]] = []
        if texts:
            scribe(mesh, "writer")
            writing.append(asyncio.create_task(offer_texts(mesh, rate=20.0, seconds=8.0, seed=9)))
        fates = await offer(mesh, lambda at: 500.0, seconds=8.0, seed=3)
        await asyncio.gather(*writing)
        return fates


def test_texts_change_nothing_for_what_is_classified_beside_them() -> None:
    alone, beside = run(_classified(texts=False)), run(_classified(texts=True))
    assert [one.tier for one in alone.all] == [one.tier for one in beside.all]
    assert beside.missed() == alone.missed() == 0
    assert beside.mean_s() == pytest.approx(alone.mean_s(), rel=0.01)
