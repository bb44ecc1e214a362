"""Stand-ins for devices: as fast as they say, and no faster when they are stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.overload.cast import four_devices
from benchmarks.overload.device import stand_in
from benchmarks.overload.speed import STEP_S, Speed, per_second, wait
from sluice.domain.enums import Tier
from sluice.worker.execution.backend import Item, ModelSpec
from sluice.worker.models.registry import IDENTITY


@given(some.floats(10, 5_000), some.floats(1, 200), some.floats(0, 0.005))
def test_a_speed_has_the_capacity_that_it_was_made_for(texts: float, tokens: float, base_s: float) -> None:
    speed = per_second(texts, tokens=tokens, base_s=base_s, items=32)
    assert speed.capacity(32, tokens) == pytest.approx(texts)


@given(some.floats(0.0001, 0.5), some.lists(some.floats(0, 5), max_size=3))
def test_a_process_that_is_stopped_takes_that_much_longer(duration_s: float, stops: list[float]) -> None:
    now, waiting, slept = 100.0, list(stops), 0.0

    def sleep(seconds: float) -> None:
        nonlocal now, slept
        slept += seconds
        now += seconds + (waiting.pop() if waiting else 0.0)

    wait(duration_s, sleep=sleep, clock=lambda: now)
    held_s = sum(stops) - sum(waiting)
    assert now - 100.0 >= duration_s + held_s - len(stops) * STEP_S - 1e-5
    assert slept <= duration_s + 1e-9


@pytest.mark.parametrize("full_share", [0.23, 0.35])
def test_four_devices_have_the_capacity_that_they_are_said_to_have(full_share: float) -> None:
    cast = four_devices(1_000.0, full_share=full_share)
    full = sum(of.capacity(32, 87.7) for one in cast.devices for tier, of in one.speeds.items() if tier == "full")
    light = sum(of.capacity(32, 34.3) for one in cast.devices for tier, of in one.speeds.items() if tier == "light")
    assert full == pytest.approx(1_000.0 * full_share, rel=0.02)
    assert light == pytest.approx(1_000.0 * (1 - full_share), rel=0.02)


def test_the_mechanism_is_off_by_the_keys_that_switch_it_off() -> None:
    from services.governor.config import GovernorConfig
    from services.router.config import RouterConfig

    off = four_devices(100.0).with_mechanism(False)
    assert RouterConfig.model_validate(off.section("router")).admission == "caps"
    assert RouterConfig.model_validate(off.section("router")).assignment == "preference"
    assert not GovernorConfig.model_validate(off.section("governor")).automatic
    on = four_devices(100.0)
    assert RouterConfig.model_validate(on.section("router")).admission == "adaptive"
    assert GovernorConfig.model_validate(on.section("governor")).automatic


def test_a_stand_in_answers_everything_and_tells_how_fast_it_is() -> None:
    speed = Speed(base_s=0.001, token_s=0.0)
    load = stand_in({"light": {"base_s": speed.base_s, "token_s": speed.token_s}})
    backend = load(ModelSpec(model="demo", tier=Tier.LIGHT, checkpoint=Path(IDENTITY)))
    backend.warm_up()
    assert len(backend.execute([Item("hi")] * 3)) == 3
    assert {point.time_s for point in backend.variant.profile} == {0.001}
    backend.close()
