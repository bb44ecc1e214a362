"""What is open at most, and that nobody fills it alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.hard_limits import NOT_KNOWN, UNCONTENDED, HardLimits, Queued, WaitingLimit


def fill(limits: HardLimits, caller: str, model: str = "m", *, hot: bool = True, size: int = 1) -> int:
    """How many more requests of `caller` there is room for; they stay."""
    count = 0
    while limits.has_room(size, hot=hot, caller=caller, model=model):
        limits.take(size, caller=caller, model=model)
        count += 1
    return count


def test_a_lone_caller_fills_four_fifths_and_a_newcomer_finds_room() -> None:
    limits = HardLimits(max_requests=1_000, max_bytes=10**9)
    assert fill(limits, "flood") == 800
    assert fill(limits, "polite") == 160
    assert fill(limits, "third") > 0


def test_a_model_fills_no_more_whoever_asks_but_where_it_is_the_only_one() -> None:
    for several, most in ((True, 800), (False, 1_000)):
        limits = HardLimits(max_requests=1_000, max_bytes=10**9)
        limits.several_models = several
        assert sum(fill(limits, f"c{number}", "chat") for number in range(2_000)) == most
        assert (fill(limits, "other", "intent") > 0) is several


def test_bytes_are_shared_as_requests_are() -> None:
    limits = HardLimits(max_requests=10**6, max_bytes=1_000)
    assert fill(limits, "flood", size=10) == 80
    assert fill(limits, "polite", size=10) == 16


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans(), st.booleans()), max_size=300),
)
def test_limits_hold_and_one_who_holds_nothing_finds_room_whenever_there_is_any(
    most: int, events: list[tuple[int, int, bool, bool]]
) -> None:
    limits = HardLimits(max_requests=most, max_bytes=10 * most)
    limits.several_models = True
    held: list[tuple[str, str]] = []
    for number, model_number, hot, ends in events:
        caller, model = f"c{number}", f"m{model_number}"
        if ends and held:
            gone = held.pop(number % len(held))
            limits.free(7, caller=gone[0], model=gone[1])
        elif limits.has_room(7, hot=hot, caller=caller, model=model):
            limits.take(7, caller=caller, model=model)
            held.append((caller, model))
        assert (limits.requests, limits.size) == (len(held), 7 * len(held))
        assert limits.requests <= most
        callers = Counter(name for name, _ in held)
        assert all(count <= max(1, UNCONTENDED * most + 1) for count in callers.values())
        stranger = limits.has_room(7, hot=True, caller="stranger", model="another")
        assert stranger == (limits.requests < most and limits.size + 7 <= 10 * most)
        assert not limits.is_roomy() or limits.has_room(0, hot=False, caller=caller, model=model)
    for caller, model in held:
        limits.free(7, caller=caller, model=model)
    assert not limits._callers
    assert not limits._models


def test_waiting_work_of_one_caller_leaves_room_for_others() -> None:
    waiting = WaitingLimit()
    waiting.bound(3.0)
    held = 0.0
    while waiting.has_room(Queued(held, 1), 0.01, hot=True):
        waiting.take(0.01, hot=True)
        held += 0.01
    assert 2.3 < held < 2.5
    assert waiting.has_room(NOT_KNOWN, 0.01, hot=True)
    # Cold work has two thirds, of which what is hot has taken all.
    assert not waiting.has_room(NOT_KNOWN, 0.01, hot=False)
    waiting.worked_off(5.0)
    assert waiting.has_room(NOT_KNOWN, 0.01, hot=False)


def test_a_flood_beyond_the_bound_takes_nobody_else_their_part_and_many_strangers_pass_it_once_at_most() -> None:
    waiting = WaitingLimit()
    waiting.bound(3.0)
    waiting.take(30.0, hot=True)
    assert not waiting.has_room(Queued(30.0, 1), 0.01, hot=True)
    assert waiting.has_room(Queued(0.0, 1), 0.01, hot=True)
    assert not waiting.has_room(Queued(1.5, 1), 0.01, hot=True)
    assert not waiting.has_room(NOT_KNOWN, 0.01, hot=True)
    strangers = 0
    while waiting.has_room(Queued(0.0, 1 + strangers), 0.01, hot=True):
        strangers += 1
    assert 0.01 * strangers <= 3.0
