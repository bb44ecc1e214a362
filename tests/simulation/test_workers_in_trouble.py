"""Workers that freeze, slow down, die or start cold, in virtual time: what that costs, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.router.requests.request import Request
from sluice.domain.enums import QueryClass, Tier
from tests.simulation.offered_load import Fate, Fates, offer
from tests.simulation.sim_mesh import SimMesh, SimWorker, sim_mesh
from tests.simulation.tiers import FULL, LIGHT, QUANTIZED
from tests.simulation.virtual_time import run

BEGINS_S, ENDS_S, SECONDS = 3.0, 7.0, 12.0
Change = Callable[[SimMesh], None]


async def _trouble(
    begin: Change, end: Change, *, each: int, rate: float, settings: dict[str, str], adapt: Callable[[Request], Request]
) -> tuple[Fates, SimMesh]:
    async with sim_mesh(**settings) as mesh:
        for number in range(each):
            mesh.add(f"gpu{number}", FULL, seed=number)
            mesh.add(f"cpu{number}", LIGHT, QUANTIZED, seed=number)

        async def happen() -> None:
            await asyncio.sleep(BEGINS_S)
            begin(mesh)
            await asyncio.sleep(ENDS_S - BEGINS_S)
            end(mesh)

        happening = asyncio.create_task(happen())
        fates = await offer(mesh, lambda at: rate, seconds=SECONDS, seed=1, adapt=adapt)
        await happening
        return fates, mesh


def trouble(
    begin: Change,
    end: Change,
    *,
    each: int,
    rate: float,
    adapt: Callable[[Request], Request] = replace,
    **settings: str,
) -> tuple[Fates, SimMesh]:
    return run(_trouble(begin, end, each=each, rate=rate, settings=settings, adapt=adapt))


def on(*names: str, do: Callable[[SimWorker], object]) -> Change:
    def change(mesh: SimMesh) -> None:
        for name in names:
            do(mesh.workers[name])

    return change


def after(fates: Fates, since_s: float) -> list[Fate]:
    """What came since then; arrivals are even enough to tell by their number."""
    return fates.all[int(len(fates.all) * since_s / SECONDS) :]


def in_time(fates: list[Fate]) -> float:
    return sum(one.is_in_time for one in fates) / len(fates)


def freeze(*names: str) -> tuple[Change, Change]:
    return on(*names, do=SimWorker.freeze), on(*names, do=SimWorker.thaw)


def test_one_of_two_that_freezes_costs_no_deadline_and_is_used_again() -> None:
    ours, mesh = trouble(*freeze("gpu0"), each=2, rate=1_500)
    assert ours.missed() == 0
    assert "gpu0" in {one.worker for one in after(ours, ENDS_S + 1)}
    assert not mesh.workers["gpu0"].conduct.is_ejected


def test_the_only_worker_of_a_tier_that_freezes_swallows_nothing_that_another_tier_may_answer() -> None:
    def classed(request: Request) -> Request:
        return replace(request, query_class=QueryClass.COMPLEX if request.priority > 0.5 else QueryClass.SIMPLE)

    ours, _ = trouble(*freeze("gpu0"), each=1, rate=350, adapt=classed)
    # Without a limit of each resource, which would send what it may to the other tier.
    fixed, _ = trouble(*freeze("gpu0"), each=1, rate=350, adapt=classed, assignment="preference", admission="caps")
    assert ours.share_in_time() >= 0.999
    assert fixed.share_in_time() < 0.95
    frozen = [one for one in after(ours, BEGINS_S + 1) if one.tier is Tier.LIGHT]
    assert any(one.hot for one in frozen)
    assert Tier.FULL in {one.tier for one in after(ours, ENDS_S + 1)}


def test_what_only_the_frozen_worker_may_answer_ends_by_its_deadline_and_is_answered_again_after() -> None:
    def demanding(request: Request) -> Request:
        return replace(request, minimum_tier=Tier.FULL)

    ours, _ = trouble(*freeze("gpu0"), each=1, rate=100, adapt=demanding)
    assert {one.tier for one in ours.all if not one.reason} == {Tier.FULL}
    assert {one.reason for one in ours.all} <= {"", "rejected-ttl-expired", "rejected-saturated", "rejected-priority"}
    assert in_time(after(ours, ENDS_S + 1)) == 1.0


def test_when_all_freeze_service_is_back_within_a_second_of_their_return() -> None:
    # So near to all that they can do, a worker that is thought slower than it is would keep them overloaded for ever.
    ours, _ = trouble(*freeze("gpu0", "cpu0"), each=1, rate=1_700)
    assert in_time(after(ours, ENDS_S + 1)) >= 0.99


def test_workers_that_are_merely_slow_are_learnt_and_not_sent_away() -> None:
    def slower(factor: float) -> Change:
        return on("gpu0", "gpu1", "cpu0", "cpu1", do=lambda worker: setattr(worker, "slowness", factor))

    ours, mesh = trouble(slower(3.0), slower(1.0), each=2, rate=700)
    assert not any(worker.conduct.is_ejected for worker in mesh.workers.values())
    assert ours.share_in_time(hot=True) >= 0.99
    assert in_time(after(ours, ENDS_S + 2)) >= 0.99


def test_half_of_the_workers_that_die_cost_their_requests_a_second_try_each() -> None:
    dead = ("gpu0", "cpu0")
    ours, _ = trouble(on(*dead, do=SimWorker.die), on(*dead, do=SimWorker.connect), each=2, rate=900)
    assert ours.share_in_time() >= 0.999
    assert "worker-failed" not in {one.reason for one in ours.all}


async def _cold_start() -> tuple[set[bool], Fates]:
    async with sim_mesh(admission="caps") as mesh:
        worker = mesh.add("cpu", LIGHT)
        worker.slowness = 1_000.0
        asked = asyncio.create_task(offer(mesh, lambda at: 20.0, seconds=4.0, seed=1, timeouts_s=(20.0,)))
        seen: set[bool] = set()
        while not asked.done():
            await asyncio.sleep(0.01)
            seen.add(worker.conduct.stuck)
            if worker.open:
                worker.slowness = 1.0
        return seen, await asked


def test_a_slow_first_batch_is_no_hang() -> None:
    seen, fates = run(_cold_start())
    assert max(one.took_s for one in fates.all) > 1
    assert fates.missed() == 0
    assert seen == {False}


@pytest.mark.parametrize("seed", range(3))
def test_every_offered_request_ends_once_whatever_becomes_of_the_workers(seed: int) -> None:
    async def scenario() -> None:
        async with sim_mesh() as mesh:
            workers = [mesh.add(f"{name}{n}", *laws, seed=seed) for n in range(2) for name, laws in KINDS.items()]
            asked = asyncio.create_task(offer(mesh, lambda at: 600.0, seconds=8.0, seed=seed))
            for step in range(16):
                worker = workers[(step * 7 + seed) % len(workers)]
                for do in ((worker.freeze, worker.thaw), (worker.die, worker.connect))[(step + seed) % 2]:
                    do()
                    await asyncio.sleep(0.25)
            fates = await asked
            ended = sum(mesh.router.ledger.outcomes.values())
            assert ended == len(fates.all)
            assert fates.share_in_time() > 0.9
            assert sum(mesh.router.dispatcher.waiting()) == 0

    run(scenario())


KINDS = {"gpu": (FULL,), "cpu": (LIGHT, QUANTIZED)}


async def _last_one_left() -> tuple[Fates, SimMesh]:
    async with sim_mesh() as mesh:
        for number in range(2):
            mesh.add(f"cpu{number}", LIGHT, seed=number)
        asked = asyncio.create_task(offer(mesh, lambda at: 200.0, seconds=6.0, seed=1))
        await asyncio.sleep(1.0)
        first, second = mesh.workers.values()
        for _ in range(3):
            # Each time longer: it would be away for half a minute by the end.
            first.conduct.eject(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)
        second.die()
        return await asked, mesh


def test_who_was_sent_away_is_called_back_when_nobody_else_is_left() -> None:
    fates, mesh = run(_last_one_left())
    assert in_time(after(fates, 6.0)) == 1.0
    assert {one.worker for one in after(fates, 6.0)} == {"cpu0"}
    assert not mesh.workers["cpu0"].conduct.is_ejected
