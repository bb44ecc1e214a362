"""Interleaved measurements: order, medians, and ratios that are taken within a round."""

from __future__ import annotations

import pytest

from benchmarks.rounds import Leg, Rounds, interleave


def recorded(name: str, order: list[str], values: list[float]) -> Leg:
    left = iter(values)

    async def measure() -> float:
        order.append(name)
        return next(left)

    return measure


async def test_every_second_round_runs_backwards_and_every_measurement_is_told_of() -> None:
    order: list[str] = []
    told: list[int] = []
    legs = {"a": recorded("a", order, [1.0, 2.0, 3.0]), "b": recorded("b", order, [4.0, 5.0, 6.0])}
    rounds = await interleave(legs, rounds=3, tick=told.append)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert told == [1, 2, 3, 4, 5, 6]
    assert rounds.values == {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}


def test_a_machine_that_slows_down_between_rounds_changes_no_ratio() -> None:
    speeds = [1.0, 0.5, 0.1]
    rounds = Rounds({"fast": [300 * speed for speed in speeds], "slow": [100 * speed for speed in speeds]})
    assert rounds.ratio("fast", "slow") == pytest.approx(3.0)
    assert rounds.spread("fast", "slow") == pytest.approx((3.0, 3.0))
    assert rounds.medians() == {"fast": 150.0, "slow": 50.0}


def test_one_disturbed_round_moves_the_spread_and_not_the_ratio() -> None:
    rounds = Rounds({"one": [2.0, 2.0, 2.0, 9.0, 2.0], "other": [1.0, 1.0, 1.0, 1.0, 1.0]})
    assert rounds.ratio("one", "other") == 2.0
    assert rounds.spread("one", "other") == (2.0, 9.0)


async def test_a_leg_that_fails_ends_the_measurement() -> None:
    async def fail() -> float:
        raise RuntimeError("no answer")

    order: list[str] = []
    with pytest.raises(RuntimeError, match="no answer"):
        await interleave({"a": fail, "b": recorded("b", order, [1.0])}, rounds=1, tick=lambda _: None)
    assert order == []
