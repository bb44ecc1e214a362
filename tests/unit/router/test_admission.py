"""Whether there is room."""

from __future__ import annotations

import random

import pytest

from services.router.admission import Admission
from sluice.errors import Saturated


def admitted(admission: Admission, size: int, *, hot: bool) -> bool:
    try:
        admission.admit(size, hot=hot)
    except Saturated:
        return False
    return True


def test_the_last_tenth_of_the_places_is_for_hot_requests() -> None:
    admission = Admission(max_requests=20, max_bytes=10**9)
    assert [admitted(admission, 1, hot=False) for _ in range(20)] == [True] * 18 + [False] * 2
    assert [admitted(admission, 1, hot=True) for _ in range(3)] == [True, True, False]


def test_the_last_tenth_of_the_text_is_for_hot_requests() -> None:
    admission = Admission(max_requests=1_000, max_bytes=1_000)
    assert admitted(admission, 900, hot=False)
    assert not admitted(admission, 1, hot=False)
    assert admitted(admission, 100, hot=True)
    assert not admitted(admission, 1, hot=True)


def test_a_refusal_says_when_to_come_back_and_takes_no_room() -> None:
    admission = Admission(max_requests=1, max_bytes=1_000)
    admission.admit(10, hot=True)
    with pytest.raises(Saturated) as caught:
        admission.admit(10, hot=True)
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 0
    assert (admission.requests, admission.size) == (1, 10)


def test_a_single_place_serves_cold_requests_too() -> None:
    assert admitted(Admission(max_requests=1, max_bytes=100), 1, hot=False)


def test_what_ends_makes_room() -> None:
    admission = Admission(max_requests=1, max_bytes=100)
    for _ in range(3):
        assert admitted(admission, 80, hot=True)
        assert not admitted(admission, 1, hot=True)
        admission.release(80)
    assert (admission.requests, admission.size) == (0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_no_mix_of_requests_ever_exceeds_the_limits(seed: int) -> None:
    dice = random.Random(seed)
    admission = Admission(max_requests=30, max_bytes=3_000)
    held: list[int] = []
    refusals = 0
    for _ in range(2_000):
        if held and dice.random() < 0.45:
            admission.release(held.pop(dice.randrange(len(held))))
            continue
        size, hot = dice.randint(1, 400), dice.random() < 0.3
        cold_room = (admission.requests + 1 <= 27) and (admission.size + size <= 2_700)
        if admitted(admission, size, hot=hot):
            held.append(size)
            assert hot or cold_room
        else:
            refusals += 1
        assert (admission.requests, admission.size) == (len(held), sum(held))
        assert len(held) <= 30
        assert sum(held) <= 3_000
    assert refusals > 0
