"""When a worker is dialled again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.workers.redial import FIRST_S, MAX_ABSENT_S, REDEEMED_S, Redial

MAX_S = 30.0
ends = st.tuples(st.booleans(), st.booleans(), st.floats(0, 100))


@given(st.lists(ends))
def test_a_delay_is_never_longer_than_its_cause_allows(history: list[tuple[bool, bool, float]]) -> None:
    redial = Redial(max_refused_s=MAX_S)
    for was_up, refused, lasted_s in history:
        delay_s = redial.after(was_up=was_up, refused=refused, lasted_s=lasted_s)
        assert FIRST_S <= delay_s <= (MAX_S if refused else MAX_ABSENT_S)
        assert redial.on_probation or not refused


def test_who_breaks_the_contract_again_and_again_waits_longer_each_time_until_a_stream_has_lasted() -> None:
    redial = Redial(max_refused_s=MAX_S)
    lies = [redial.after(was_up=True, refused=True, lasted_s=0.1) for _ in range(8)]
    assert lies == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert redial.after(was_up=True, refused=False, lasted_s=1.0) == FIRST_S
    assert redial.on_probation
    assert redial.after(was_up=True, refused=True, lasted_s=1.0) == MAX_S
    assert redial.after(was_up=True, refused=False, lasted_s=REDEEMED_S) == FIRST_S
    assert not redial.on_probation


def test_who_is_not_there_is_asked_every_second_and_who_was_lost_at_once() -> None:
    redial = Redial(max_refused_s=MAX_S)
    assert [redial.after(was_up=False, refused=False, lasted_s=0.0) for _ in range(6)][-1] == MAX_ABSENT_S
    assert redial.after(was_up=True, refused=False, lasted_s=0.0) == FIRST_S
