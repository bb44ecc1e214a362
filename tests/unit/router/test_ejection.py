"""When a worker is sent away, for how long, and how it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.workers.outlier_detection import (
    FIRST_S,
    LONGEST_S,
    PARDON_S,
    SHORTEST_HANG_S,
    WorkerHealth,
    hangs_after_s,
    may_eject,
)


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_nothing_hangs_sooner_than_it_could_be_done(expected_s: float, sigma_s: float) -> None:
    assert hangs_after_s(expected_s, sigma_s) >= max(SHORTEST_HANG_S, 3 * expected_s)


@given(st.integers(1, 50))
def test_half_of_those_who_can_do_the_work_stay(workers: int) -> None:
    gone = 0
    while may_eject([(gone, workers)]):
        gone += 1
    assert gone == workers // 2


def test_a_worker_goes_only_if_every_variant_it_serves_can_spare_it() -> None:
    assert may_eject([(0, 4), (1, 4)])
    assert not may_eject([(0, 4), (0, 1)])


def test_an_ejected_worker_gets_nothing_until_its_time_is_over_and_then_has_to_prove_itself() -> None:
    conduct = WorkerHealth()
    conduct.eject(0.0)
    assert conduct.is_out(FIRST_S - 0.01)
    assert conduct.is_ejected
    assert not conduct.is_out(FIRST_S)
    assert conduct.probing
    conduct.answered(FIRST_S + 0.1)
    assert not conduct.probing


def test_each_time_is_longer_than_the_last_up_to_a_minute_and_a_long_good_record_wipes_it_out() -> None:
    conduct, now, lengths = WorkerHealth(), 0.0, []
    for _ in range(15):
        conduct.eject(now)
        length = next(step for step in range(1, 200) if not conduct.is_out(now + step))
        lengths.append(length)
        now += length
    assert lengths == [min(LONGEST_S, FIRST_S * count) for count in range(1, 16)]
    now += PARDON_S + 1
    conduct.eject(now)
    assert not conduct.is_out(now + FIRST_S)


def test_while_its_batch_hangs_it_gets_nothing_however_long_that_is_and_ejected_or_not() -> None:
    conduct = WorkerHealth()
    conduct.hang()
    assert conduct.is_out(1e9)
    assert not conduct.is_ejected
    conduct.answered(1e9)
    assert not conduct.is_out(1e9)
    assert not conduct.probing


def test_what_comes_back_the_first_time_is_pardoned_at_once_and_has_only_to_prove_itself() -> None:
    conduct = WorkerHealth()
    conduct.hang()
    conduct.eject(0.0)
    conduct.answered(1.0)
    assert not conduct.is_out(1.0)
    assert conduct.probing
    conduct.hang()
    conduct.eject(2.0)
    conduct.answered(3.0)
    assert conduct.is_out(3.0)


def test_a_batch_that_hung_for_once_says_nothing_of_speed_and_two_in_a_row_do() -> None:
    conduct = WorkerHealth()
    assert conduct.timing_is_valid
    conduct.hang()
    assert not conduct.timing_is_valid
    conduct.answered(1.0)
    conduct.hang()
    assert conduct.timing_is_valid
    conduct.answered(2.0)
    conduct.answered(3.0)
    conduct.hang()
    assert not conduct.timing_is_valid


def test_who_is_needed_may_prove_itself_before_its_time() -> None:
    conduct = WorkerHealth()
    conduct.eject(0.0)
    conduct.pardon(1.0)
    assert not conduct.is_out(1.0)
    assert conduct.probing


def test_a_new_connection_starts_afresh() -> None:
    conduct = WorkerHealth()
    conduct.hang()
    conduct.eject(0.0)
    conduct.reconnected()
    assert not conduct.is_out(0.0)
    assert not conduct.probing
