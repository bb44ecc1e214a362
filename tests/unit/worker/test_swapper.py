"""Swaps between a full model and its copy: what serves, what is in memory, and what is left when one goes wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest, Saturated, SluiceError
from sluice.worker.execution.backend import Classification
from sluice.worker.models.forms import ModelForms, ModelSlot
from sluice.worker.models.swap_controller import NO_ROOM
from sluice.worker.models.swap_policy import FULL_SERVICE, Action
from sluice.worker.resources.reading import Memory
from tests.unit.polling import until
from tests.unit.worker.bench import work
from tests.unit.worker.ram import (
    COPIES,
    FULL,
    FULL_BYTES,
    LIGHT,
    LIGHT_BYTES,
    LIMIT,
    READY,
    SOME_COPIES,
    UNLOADING,
    Ram,
    following,
    stage,
    turns,
)

WISHES = (FULL_SERVICE, SOME_COPIES, COPIES)


async def test_a_worker_starts_with_the_full_model_and_a_copy_that_nobody_sees(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        assert made.states() == {FULL: READY}
        assert made.ram.used == 100 + FULL_BYTES + LIGHT_BYTES
        (copy,) = made.backends["light"]
        assert (copy.warmed, copy.closed, len(copy.calls)) == (1, 0, 1)
        assert made.swapper.full_reload_ratio() is None


async def test_the_copy_serves_before_the_full_model_goes_and_the_other_way_round(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await made.settle(COPIES)
        assert made.history == [{FULL: READY, LIGHT: READY}, {FULL: UNLOADING, LIGHT: READY}, {LIGHT: READY}]
        assert made.ram.used == 100 + LIGHT_BYTES
        assert made.swapper.full_reload_ratio() == FULL_BYTES / LIMIT
        made.history.clear()
        await made.settle(FULL_SERVICE)
        assert made.history == [{FULL: READY, LIGHT: READY}, {FULL: READY, LIGHT: UNLOADING}, {FULL: READY}]
        assert made.ram.used == 100 + FULL_BYTES + LIGHT_BYTES
        assert len(made.backends["light"]) == 1
        assert [backend.closed for backend in made.backends["full"]] == [1, 0]
        assert made.swapper.full_reload_ratio() is None
        assert made.swapper.trouble == ""


async def test_batches_that_the_full_model_has_taken_are_finished_before_it_goes(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        (backend,) = made.backends["full"]
        backend.begun.clear()
        backend.go_on.clear()
        taken = [work("a", variant=FULL), work("b", variant=FULL, first=2)]
        for one in taken:
            made.bench.device.submit(one)
        assert await asyncio.to_thread(backend.begun.wait, 20)
        swap = asyncio.create_task(made.settle(COPIES))
        await until(lambda: made.states() == {FULL: UNLOADING, LIGHT: READY})
        late = work("late", variant=FULL, first=3)
        made.bench.device.submit(late)
        assert isinstance((await late.done).outputs[3], SluiceError)
        assert backend.closed == 0
        backend.go_on.set()
        await asyncio.wait_for(swap, 20)
        outputs = [output for one in taken for output in (await one.done).outputs.values()]
        assert [output.label for output in outputs if isinstance(output, Classification)] == ["a", "b"]
        assert backend.closed == 1


async def test_with_a_share_both_serve_until_memory_runs_out_and_the_full_model_is_not_brought_back(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as made:
        await made.settle(SOME_COPIES)
        assert made.states() == {FULL: READY, LIGHT: READY}
        made.ram.take(LIMIT - made.ram.used - 10)
        await made.settle(SOME_COPIES)
        assert made.states() == {LIGHT: READY}
        made.ram.used = 100 + LIGHT_BYTES
        await made.settle(SOME_COPIES)
        assert made.states() == {LIGHT: READY}
        await made.settle(FULL_SERVICE)
        assert made.states() == {FULL: READY}


async def test_a_copy_beyond_its_budget_is_tried_at_the_start_and_loaded_when_it_is_needed(tmp_path: Path) -> None:
    async with stage(tmp_path, light_budget=0.01) as made:
        assert made.ram.used == 100 + FULL_BYTES
        # It was tried before the full model was loaded, not beside it.
        assert made.ram.peak == 100 + FULL_BYTES
        assert [backend.closed for backend in made.backends["light"]] == [1]
        await made.settle(COPIES)
        assert made.states() == {LIGHT: READY}
        await made.settle(FULL_SERVICE)
        assert (made.states(), made.ram.used) == ({FULL: READY}, 100 + FULL_BYTES)


async def test_both_are_never_in_memory_when_they_do_not_fit(tmp_path: Path) -> None:
    ram = Ram()
    async with stage(tmp_path, ram=ram, light_budget=0.0) as made:
        ram.take(LIMIT * 92 // 100 - ram.used - LIGHT_BYTES + 1)
        await made.settle(COPIES)
        assert made.history == [{FULL: UNLOADING}, {}, {LIGHT: READY}]
        made.history.clear()
        await made.settle(FULL_SERVICE)
        assert made.history == [{LIGHT: UNLOADING}, {}, {FULL: READY}]
        assert ram.peak <= LIMIT * 0.92


async def test_both_are_never_in_memory_when_nobody_knows_what_there_is(tmp_path: Path) -> None:
    ram = Ram()
    ram.known = False
    async with stage(tmp_path, ram=ram) as made:
        for _ in range(2):
            await made.settle(COPIES)
            assert made.states() == {LIGHT: READY}
            assert made.swapper.full_reload_ratio() is None
            await made.settle(FULL_SERVICE)
            assert made.states() == {FULL: READY}
    assert ram.peak == 100 + FULL_BYTES


async def test_a_full_model_that_would_not_fit_any_more_is_not_loaded_and_that_is_said(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await made.settle(COPIES)
        made.ram.take(600)
        await made.settle(FULL_SERVICE)
        assert made.states() == {LIGHT: READY}
        assert made.swapper.trouble == f"m: {NO_ROOM} full"
        assert len(made.backends["full"]) == 1
        made.ram.used -= 600
        await made.settle(FULL_SERVICE)
        assert (made.states(), made.swapper.trouble) == ({FULL: READY}, "")


async def test_the_budget_of_copies_follows_a_limit_that_changes(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        made.swapper._light_budget = 0.01
        await made.settle(FULL_SERVICE)
        assert made.ram.used == 100 + FULL_BYTES
        made.swapper._light_budget = 0.05
        await made.settle(FULL_SERVICE)
        assert made.ram.used == 100 + FULL_BYTES + LIGHT_BYTES


@pytest.mark.parametrize(
    "fault",
    [InvalidRequest("model.safetensors is damaged"), RuntimeError("odd"), MemoryError()],
    ids=["damaged", "crash", "memory"],
)
async def test_a_copy_that_has_gone_bad_leaves_the_full_model_serving_and_is_seldom_tried_again(
    tmp_path: Path, fault: Exception
) -> None:
    async with stage(tmp_path, light_budget=0.0) as made:
        made.faults["light"] = fault
        made.tries.clear()
        await made.in_vain(COPIES)
        # Barred for 5, 10, 20, 40, 80 and 160 seconds of the 300.
        assert made.tries == ["light"] * 6
        assert (made.states(), made.history) == ({FULL: READY}, [])
        assert made.swapper.trouble.startswith("load light of m: ")
        assert made.ram.used == 100 + FULL_BYTES
        made.faults.clear()
        made.now += 300
        await made.settle(COPIES)
        assert (made.states(), made.swapper.trouble) == ({LIGHT: READY}, "")


async def test_a_full_model_that_went_first_comes_back_when_its_copy_is_bad(tmp_path: Path) -> None:
    ram = Ram()
    async with stage(tmp_path, ram=ram, light_budget=0.0) as made:
        ram.take(LIMIT * 92 // 100 - ram.used - LIGHT_BYTES + 1)
        made.faults["light"] = InvalidRequest("model.safetensors is damaged")
        await made.settle(COPIES)
        assert made.history == [{FULL: UNLOADING}, {}, {FULL: READY}]
        made.history.clear()
        # It is not let go of again for a copy that has failed once.
        for _ in range(50):
            made.now += 10
            await made.settle(COPIES)
        assert made.history == []


async def test_a_full_model_that_has_gone_bad_leaves_its_copy_serving(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await made.settle(COPIES)
        made.faults["full"] = InvalidRequest("model.safetensors is missing")
        await made.settle(FULL_SERVICE)
        assert made.states() == {LIGHT: READY}
        assert "missing" in made.swapper.trouble
        made.faults.clear()
        made.now += 10
        await made.settle(FULL_SERVICE)
        assert made.states() == {FULL: READY}


async def test_a_bad_copy_is_refused_at_the_start_by_its_field(tmp_path: Path) -> None:
    async with stage(tmp_path, add=False) as made:
        made.faults["light"] = InvalidRequest("model.safetensors is damaged", field="checkpoint")
        with pytest.raises(InvalidRequest, match="damaged") as caught:
            await made.add()
        assert caught.value.field == "distilled"
        assert (made.ram.used, made.states()) == (100, {})


async def test_a_copy_with_no_room_at_the_start_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path, add=False) as made:
        made.faults["light"] = MemoryError()
        with pytest.raises(Saturated) as caught:
            await made.add()
        assert caught.value.field == "distilled"


async def test_a_name_that_is_taken_rolls_the_swap_back(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await made.bench.catalog.load(model="m", tier=Tier.LIGHT, checkpoint="light")
        await made.settle(COPIES)
        assert made.states() == {FULL: READY, LIGHT: READY}
        assert "holds 'm/light-fp32' already" in made.swapper.trouble
        # The copy was freed; the one that was loaded by hand was not.
        assert [backend.closed for backend in made.backends["light"]] == [1, 0]


async def test_what_is_unloaded_by_hand_stays_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        await made.bench.catalog.unload(FULL)
        await made.settle(FULL_SERVICE)
        await made.settle(COPIES)
        assert made.states() == {}
        assert made.ram.used == 100
        assert made.swapper.full_reload_ratio() is None


async def test_a_wish_that_flips_in_the_middle_of_a_swap_is_obeyed(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        made.swapper._settle_s = 0
        made.swapper._clock = lambda: made.now
        async with following(made.swapper):
            (first,) = made.backends["full"]
            first.go_on.clear()
            first.begun.clear()
            busy = work("busy", variant=FULL)
            made.bench.device.submit(busy)
            assert await asyncio.to_thread(first.begun.wait, 20)
            made.wish = COPIES
            await until(lambda: made.states().get(FULL) == UNLOADING)
            made.wish = FULL_SERVICE
            first.go_on.set()
            await made.comes_back()
            assert isinstance((await busy.done).outputs[1], Classification)


@pytest.mark.parametrize("seed", range(8))
async def test_a_wish_that_flaps_leaves_one_of_the_two_serving_at_every_moment(tmp_path: Path, seed: int) -> None:
    async with stage(tmp_path) as made:
        await made.flap(WISHES, seed=seed)
        assert all(READY in states.values() for states in made.history)
        assert made.ram.peak <= LIMIT * 0.92


async def test_what_has_just_begun_to_serve_is_not_taken_away_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        made.now = 10.0
        made.wish = COPIES
        (ladder,) = made.swapper._ladders
        while await made.swapper._advance(ladder):
            pass
        made.wish = FULL_SERVICE
        made.now += 0.5
        while await made.swapper._advance(ladder):
            pass
        assert made.states() == {FULL: READY, LIGHT: READY}
        made.now += 0.6
        while await made.swapper._advance(ladder):
            pass
        assert made.states() == {FULL: READY}


class Clumsy(ModelForms):
    """Fails at everything, in ways that nobody foresaw."""

    async def take(self, act: Action, slot: ModelSlot, *, now: float) -> None:
        raise OSError(f"no {act.value}")


async def test_no_surprise_with_one_model_keeps_another_from_following(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        (ladder,) = made.swapper._ladders
        assert ladder.light is not None
        clumsy = Clumsy(made.bench.catalog, full=ladder.full.spec, light=ladder.light.spec)
        made.swapper._ladders.insert(0, clumsy)
        made.wish = COPIES
        made.now = 10.0
        async with following(made.swapper):
            await until(lambda: made.states() == {LIGHT: READY})
            assert "OSError" in made.swapper.trouble


async def test_a_swapper_that_cannot_decide_goes_on_when_it_can(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        made.wish, made.now = COPIES, 10.0
        plain, looks = made.swapper._memory, 0

        def broken() -> Memory | None:
            nonlocal looks
            looks += 1
            raise ZeroDivisionError

        made.swapper._memory = broken
        async with following(made.swapper):
            await until(lambda: looks > 1)
            assert made.states() == {FULL: READY}
            made.swapper._memory = plain
            await until(lambda: made.states() == {LIGHT: READY})


async def test_a_cancelled_swapper_leaves_no_variant_unloading_for_ever(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        (backend,) = made.backends["full"]
        backend.begun.clear()
        backend.go_on.clear()
        made.bench.device.submit(work("busy", variant=FULL))
        assert await asyncio.to_thread(backend.begun.wait, 20)
        made.wish = COPIES
        made.now = 10.0
        async with following(made.swapper):
            await until(lambda: made.states().get(FULL) == UNLOADING)
        backend.go_on.set()
        await until(lambda: made.states() == {LIGHT: READY})
        await turns()
        assert backend.closed == 1


async def test_copies_share_one_budget_and_those_that_came_first_keep_theirs(tmp_path: Path) -> None:
    async with stage(tmp_path, light_budget=0.05) as made:
        spec = made.bench.catalog.spec
        await made.swapper.add(
            spec(model="n", tier=Tier.FULL, checkpoint="full"),
            light=spec(model="n", tier=Tier.LIGHT, checkpoint="light"),
        )
        # Two of 40 bytes do not fit into 5 % of 1000.
        assert [backend.closed for backend in made.backends["light"]] == [0, 1]
        await made.settle(COPIES)
        assert made.states() == {LIGHT: READY, "n/light-fp32": READY}
        assert made.swapper.full_reload_ratio() == 2 * FULL_BYTES / LIMIT
