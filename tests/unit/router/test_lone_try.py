"""How long a worker is kept free of new work for a suspect: never for more than a fifth of the time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.workers.lone_try import HOLD_S, REST_S, Reservation


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200))
def test_a_worker_is_kept_from_new_work_for_a_fifth_of_the_time_at_most(looks: list[tuple[float, bool]]) -> None:
    reservation, now, held_s = Reservation(), 0.0, 0.0
    for after_s, releases in looks:
        if reservation.is_held(now):
            held_s += min(after_s, HOLD_S)
        now += after_s
        assert reservation.hold(now) == reservation.is_held(now)
        if releases:
            reservation.release()
            assert not reservation.is_held(now)
    assert held_s <= HOLD_S + now * HOLD_S / (HOLD_S + REST_S)


def test_one_that_came_back_as_another_process_may_be_kept_at_once() -> None:
    reservation = Reservation()
    assert reservation.hold(0.0)
    assert not reservation.hold(HOLD_S)
    reservation.forget()
    assert reservation.hold(HOLD_S)
