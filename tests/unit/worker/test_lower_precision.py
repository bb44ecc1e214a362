"""A model that is held in another precision: by level 2's first step, or by an operator's order."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.domain.enums import Precision
from sluice.domain.errors import InvalidRequest
from sluice.worker.models.swap_controller import NO_ROOM
from sluice.worker.models.swap_policy import FULL_SERVICE, DesiredState
from tests.unit.worker.ram import (
    COPIES,
    FP8_BYTES,
    FULL,
    FULL_BYTES,
    LIGHT,
    LIGHT_BYTES,
    LIMIT,
    LOWER,
    READY,
    UNLOADING,
    Ram,
    stage,
)

FP8, MIXED, INT4 = "m/full-fp8", "m/full-mixed", "m/full-int4"
TO_FP8 = DesiredState(lowers=True, precision=Precision.FP8)
TO_MIXED = DesiredState(lowers=True, precision=Precision.MIXED)
TO_INT4 = DesiredState(lowers=True, precision=Precision.INT4)


async def test_the_lower_precision_is_tried_at_the_start_and_loaded_when_it_is_needed(tmp_path: Path) -> None:
    ram = Ram()
    async with stage(tmp_path, ram=ram, lower="fp8") as made:
        assert (made.states(), made.tries) == ({FULL: READY}, ["full", "light", "full"])
        # It was tried before the model was loaded, not beside it.
        assert ram.peak == 100 + FULL_BYTES + LIGHT_BYTES
        assert made.swapper.lowering_ratio() == (FULL_BYTES - FP8_BYTES) / LIMIT
        await made.settle(LOWER)
        assert made.history == [{FULL: READY, FP8: READY}, {FULL: UNLOADING, FP8: READY}, {FP8: READY}]
        assert ram.used == 100 + FP8_BYTES + LIGHT_BYTES
        assert made.swapper.lowering_ratio() is None
        # What comes back is more than what then goes.
        assert made.swapper.full_reload_ratio() == (FULL_BYTES - FP8_BYTES) / LIMIT
        await made.settle(FULL_SERVICE)
        assert (made.states(), made.swapper.trouble) == ({FULL: READY}, "")
        assert made.swapper.full_reload_ratio() is None


async def test_under_more_pressure_the_copy_takes_over_from_the_lower_precision(tmp_path: Path) -> None:
    async with stage(tmp_path, lower="fp8") as made:
        await made.settle(LOWER)
        made.history.clear()
        await made.settle(COPIES)
        assert made.history == [{FP8: READY, LIGHT: READY}, {FP8: UNLOADING, LIGHT: READY}, {LIGHT: READY}]
        assert made.swapper.full_reload_ratio() == FULL_BYTES / LIMIT
        await made.settle(LOWER)
        assert made.states() == {FP8: READY}
        await made.settle(FULL_SERVICE)
        assert made.states() == {FULL: READY}


async def test_a_model_without_a_lower_precision_takes_no_part_in_the_first_step(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        assert made.swapper.lowering_ratio() is None
        await made.settle(LOWER)
        assert (made.states(), made.history) == ({FULL: READY}, [])


async def test_a_lower_precision_that_is_the_models_own_is_none(tmp_path: Path) -> None:
    async with stage(tmp_path, lower="fp32") as made:
        assert made.swapper.lowering_ratio() is None
        await made.settle(LOWER)
        assert (made.states(), made.history) == ({FULL: READY}, [])


async def test_an_order_is_obeyed_up_and_down_and_undone_when_it_ends(tmp_path: Path) -> None:
    async with stage(tmp_path, has_copy=False) as made:
        for wish, states in (
            (TO_FP8, {FP8: READY}),
            (TO_INT4, {INT4: READY}),
            (TO_MIXED, {MIXED: READY}),
            (DesiredState(lowers=True, precision=Precision.FULL), {FULL: READY}),
            (TO_FP8, {FP8: READY}),
            (FULL_SERVICE, {FULL: READY}),
        ):
            await made.settle(wish)
            assert made.states() == states
        assert all(READY in states.values() for states in made.history)
        assert made.ram.used == 100 + FULL_BYTES
        assert made.swapper.trouble == ""


async def test_an_order_of_the_precision_that_is_held_moves_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path, has_copy=False) as made:
        await made.settle(DesiredState(lowers=True, precision=Precision.FULL))
        assert (made.states(), made.history) == ({FULL: READY}, [])


async def test_a_model_with_a_precision_of_its_own_follows_the_level_and_no_order(tmp_path: Path) -> None:
    async with stage(tmp_path, has_copy=False, lower="fp8", is_fixed=True) as made:
        await made.settle(TO_INT4)
        assert made.states() == {FP8: READY}
        await made.settle(FULL_SERVICE)
        assert made.states() == {FULL: READY}


async def test_an_order_that_the_device_cannot_obey_leaves_serving_what_serves_and_is_said(tmp_path: Path) -> None:
    async with stage(tmp_path, has_copy=False) as made:
        made.faults["full in fp8"] = InvalidRequest("cuda cannot compute in fp8", field="precision")
        await made.in_vain(TO_FP8)
        # Barred for 5, 10, 20, 40, 80 and 160 seconds of the 300, after the first loading at the start.
        assert made.tries == ["full"] * (1 + 6)
        assert (made.states(), made.history) == ({FULL: READY}, [])
        assert made.swapper.trouble == "load fp8 of m: cuda cannot compute in fp8"
        made.faults.clear()
        made.now += 300
        await made.settle(TO_FP8)
        assert (made.states(), made.swapper.trouble) == ({FP8: READY}, "")


async def test_nothing_that_serves_goes_for_a_precision_that_was_never_tried(tmp_path: Path) -> None:
    ram = Ram()
    async with stage(tmp_path, ram=ram, has_copy=False) as made:
        ram.take(LIMIT * 92 // 100 - ram.used - FP8_BYTES + 1)
        await made.settle(TO_FP8)
        assert (made.states(), made.history) == ({FULL: READY}, [])
        assert made.swapper.trouble == f"m: {NO_ROOM} fp8"
        ram.used -= 1
        await made.settle(TO_FP8)
        assert (made.states(), made.swapper.trouble) == ({FP8: READY}, "")


async def test_a_precision_that_was_tried_may_take_the_place_of_what_serves(tmp_path: Path) -> None:
    ram = Ram()
    async with stage(tmp_path, ram=ram, has_copy=False, lower="fp8") as made:
        ram.take(LIMIT * 92 // 100 - ram.used - FP8_BYTES + 1)
        await made.settle(LOWER)
        assert made.history == [{FULL: UNLOADING}, {}, {FP8: READY}]
        assert ram.peak <= LIMIT * 0.92


async def test_a_lower_precision_that_fails_at_the_start_is_refused_by_its_field(tmp_path: Path) -> None:
    async with stage(tmp_path, add=False, lower="fp8") as made:
        made.faults["full in fp8"] = InvalidRequest("cpu cannot compute in fp8", field="precision")
        with pytest.raises(InvalidRequest, match="cpu cannot compute in fp8") as caught:
            await made.add()
        assert caught.value.field == "lower_precision"
        assert (made.ram.used, made.states()) == (100, {})


@pytest.mark.parametrize("seed", range(6))
async def test_orders_that_flap_leave_something_serving_at_every_moment(tmp_path: Path, seed: int) -> None:
    wishes = [FULL_SERVICE, LOWER, COPIES, TO_FP8, TO_MIXED, TO_INT4, DesiredState(copies=0.5, lowers=True)]
    async with stage(tmp_path, lower="fp8") as made:
        await made.flap(wishes, seed=seed)
        assert all(READY in states.values() for states in made.history)
        assert made.ram.peak <= LIMIT * 0.92
