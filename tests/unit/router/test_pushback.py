"""When a refused caller may come back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.rejection import LONGEST_S, retry_after_s


def test_the_least_important_are_told_not_to_come_back() -> None:
    assert retry_after_s(0.49, queue_s=0.0, target_s=0.02, dice=random.random) is None
    assert retry_after_s(0.5, queue_s=0.0, target_s=0.02, dice=random.random) is not None


@pytest.mark.parametrize(("dice", "queue_s", "after_s"), [(0.0, 0.0, 0.1), (1.0, 0.0, 0.5), (0.5, 0.04, 0.9)])
def test_the_time_is_jitter_stretched_by_how_much_too_long_the_queue_is(
    dice: float, queue_s: float, after_s: float
) -> None:
    assert retry_after_s(0.9, queue_s=queue_s, target_s=0.02, dice=lambda: dice) == pytest.approx(after_s)


def test_those_refused_together_do_not_come_back_together() -> None:
    dice = random.Random(1)
    times = {retry_after_s(0.9, queue_s=0.1, target_s=0.02, dice=dice.random) for _ in range(100)}
    assert len(times) == 100


@given(st.floats(0.5, 1), st.floats(0, 1e9), st.floats(0, 10), st.floats(0, 1, exclude_max=True))
def test_it_is_always_a_time_that_somebody_can_wait(
    priority: float, queue_s: float, target_s: float, dice: float
) -> None:
    after_s = retry_after_s(priority, queue_s=queue_s, target_s=target_s, dice=lambda: dice)
    assert after_s is not None
    assert 0.1 <= after_s <= LONGEST_S
