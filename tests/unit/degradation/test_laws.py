"""`decide`: what brings a level, what does not, and what no clock and no lie can do."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.control.degradation.laws import PUBLISHED_STEP, PolicyState, adopt, decide, disown
from sluice.control.degradation.level_state import DegradationState
from sluice.control.degradation.signals import UNKNOWN, Signals
from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS
from sluice.domain.enums import Level, Precision
from tests.unit import strategies as some

OFFLOAD, LIGHTEN, ADMIT = Level.OFFLOAD, Level.LIGHTEN, Level.ADMIT
HEALTHY = Signals(
    utilization=0.5,
    cpu_utilization=0.3,
    memory=0.5,
    queue_delay_s=0.005,
    standing_queue_delay_s=0.0,
    median_timeout_s=1.0,
    deadline_miss_ratio=0.0,
    refused_ratio=0.0,
    offloaded_utilization=0.0,
)
ALL = DegradationState(levels=(OFFLOAD, LIGHTEN, ADMIT), offload_share=0.6, lighten_share=1.0, admit_scale=0.5)


def healthy(**other: Any) -> Signals:
    return replace(HEALTHY, **other)


def after(signals: Signals, seconds: float, state: PolicyState | None = None, start: float = 0.0) -> PolicyState:
    """The state when `signals` have lasted so long."""
    state = state or PolicyState()
    for tick in range(round(seconds * 10) + 1):
        state, _ = decide(signals, state, start + tick / 10)
    return state


@pytest.mark.parametrize(
    ("signals", "seconds", "level"),
    [
        (healthy(utilization=0.95), 1.0, OFFLOAD),
        (healthy(utilization=0.85, queue_delay_s=0.3), 0.3, OFFLOAD),
        (healthy(utilization=None, queue_delay_s=0.3), 0.3, OFFLOAD),
        (healthy(memory=0.85), 0.3, LIGHTEN),
        (healthy(memory=0.95), 0.3, ADMIT),
        (healthy(cpu_memory=0.95), 0.3, ADMIT),
        (healthy(standing_queue_delay_s=0.6, queue_delay_s=0.6), 0.5, ADMIT),
    ],
)
def test_a_condition_brings_its_level_when_it_has_lasted_and_not_before(
    signals: Signals, seconds: float, level: Level
) -> None:
    assert level not in after(signals, seconds - 0.2).published.levels
    assert level in after(signals, seconds + 0.1).published.levels
    assert after(signals, seconds + 0.1).reason


@pytest.mark.parametrize(
    "signals",
    [
        HEALTHY,
        UNKNOWN,
        healthy(utilization=0.90),
        healthy(memory=0.849),
        healthy(cpu_memory=0.90),
        healthy(queue_delay_s=0.124, utilization=0.85),
        # The queue is the CPU workers' own: what leaves an idle accelerator would only lengthen it.
        healthy(queue_delay_s=0.4, utilization=0.5, cpu_utilization=1.0),
        healthy(queue_delay_s=0.4, median_timeout_s=None),
        healthy(deadline_miss_ratio=1.0),
        healthy(refused_ratio=1.0),
    ],
)
def test_nothing_else_brings_one(signals: Signals) -> None:
    assert after(signals, 60).published == DegradationState()


@pytest.mark.parametrize(
    "overload",
    [{"deadline_miss_ratio": 0.06}, {"refused_ratio": 0.06}, {"standing_queue_delay_s": 0.2, "queue_delay_s": 0.2}],
)
def test_overload_that_goes_on_under_level_1_brings_level_3_after_three_seconds(overload: dict[str, float]) -> None:
    offloaded = after(healthy(utilization=0.99), 1.0)
    assert offloaded.published.levels == (OFFLOAD,)
    assert ADMIT not in after(healthy(utilization=0.99, **overload), 2.8, offloaded, 1.1).published.levels
    assert ADMIT in after(healthy(utilization=0.99, **overload), 3.2, offloaded, 1.1).published.levels


def test_what_is_unknown_holds_every_level_for_ever() -> None:
    state = after(UNKNOWN, 1000, adopt(PolicyState(), ALL))
    assert state.published.levels == ALL.levels


@pytest.mark.parametrize("missing", ["utilization", "memory", "refused_ratio"])
def test_a_level_does_not_go_while_what_it_came_for_is_unknown(missing: str) -> None:
    state = after(healthy(**{missing: None}, cpu_memory=None), 200, adopt(PolicyState(), ALL))
    stays = {"utilization": OFFLOAD, "memory": LIGHTEN, "refused_ratio": ADMIT}[missing]
    assert stays in state.published.levels


def test_health_releases_one_level_in_five_seconds_the_highest_that_is_ready_first() -> None:
    state, went = adopt(PolicyState(), ALL), []
    levels = state.published.levels
    for tick in range(1000):
        state, decided = decide(HEALTHY, state, tick / 10)
        if decided.levels != levels:
            went.append((set(levels) - set(decided.levels), state.time_s))
            levels = decided.levels
    assert [gone for gone, _ in went] == [{ADMIT}, {OFFLOAD}, {LIGHTEN}]
    assert went[0][1] == pytest.approx(10.0, abs=0.2)
    assert went[1][1] - went[0][1] == pytest.approx(5.0, abs=0.2)
    assert went[2][1] == pytest.approx(30.0, abs=0.2)


def test_a_level_goes_only_if_there_would_be_room_for_what_it_moved() -> None:
    diverted = healthy(utilization=0.5, offloaded_utilization=0.35)
    released = healthy(memory=0.5, full_reload_ratio=0.3)
    assert OFFLOAD in after(diverted, 100, adopt(PolicyState(), ALL)).published.levels
    assert LIGHTEN in after(released, 100, adopt(PolicyState(), ALL)).published.levels


def test_more_cold_work_is_moved_only_where_room_is_known() -> None:
    queueing = healthy(utilization=None, queue_delay_s=0.2, alone=True)
    held = adopt(PolicyState(), DegradationState(levels=(OFFLOAD,), offload_share=0.3))
    moved = {cpu: after(replace(queueing, cpu_utilization=cpu), 30, held).published for cpu in (None, 0.5, 0.9, 1.0)}
    assert moved[0.5].offload_share > 0.8
    assert moved[None].offload_share == moved[0.9].offload_share == pytest.approx(0.3)
    assert moved[1.0].offload_share < 0.3


def test_a_clock_that_jumps_by_hours_has_proven_nothing() -> None:
    state = after(healthy(utilization=0.95), 0.3)
    state, decided = decide(healthy(utilization=0.95), state, 36_000.0)
    assert decided.levels == ()
    state = adopt(PolicyState(), ALL)
    for now in (0.0, 36_000.0, 36_000.1, 72_000.0):
        state, decided = decide(HEALTHY, state, now)
    assert decided.levels == ALL.levels


def test_a_clock_that_goes_back_stops_nothing_for_longer_than_one_tick() -> None:
    state = after(healthy(memory=0.9), 0.2, start=50_000.0)
    state = after(healthy(memory=0.9), 0.3, state, start=3.0)
    assert state.published.levels == (LIGHTEN,)


def test_a_number_is_published_when_it_has_moved_and_not_at_every_tick() -> None:
    # Ten readings a second move the share by a whole published step each, more of them by less.
    state, published, moved = PolicyState(), set(), set()
    for tick in range(1500):
        state, decided = decide(healthy(utilization=0.95), state, tick / 50)
        published.add(decided.offload_share)
        moved.add(state.offload.share)
    assert state.published.offload_share == pytest.approx(0.9)
    steps = sorted(published)
    assert len(steps) <= 15 < len(moved)
    assert all(later - earlier >= PUBLISHED_STEP - 1e-6 for earlier, later in itertools.pairwise(steps))


def test_the_admission_limit_goes_down_while_the_queue_stands_and_up_while_it_is_short() -> None:
    standing = healthy(utilization=0.99, queue_delay_s=0.7, standing_queue_delay_s=0.7)
    low = after(standing, 20)
    assert ADMIT in low.published.levels
    assert low.published.admit_scale == pytest.approx(0.3, abs=0.05)
    assert after(healthy(refused_ratio=0.01), 10, low, 20.1).published.admit_scale > 0.6


def test_a_router_alone_gives_back_what_it_diverts_step_by_step_and_returns_to_full_service() -> None:
    alone = Signals(
        queue_delay_s=0.005, standing_queue_delay_s=0.0, median_timeout_s=1.0, refused_ratio=0.0, alone=True
    )
    late = replace(alone, queue_delay_s=0.7, standing_queue_delay_s=0.7)
    state = after(late, 5)
    assert state.published.levels == (OFFLOAD, ADMIT)
    shares = []
    for tick in range(300):
        state, decided = decide(alone, state, 5 + tick / 10)
        shares.append(decided.offload_share)
    assert state.published.levels == ()
    assert shares == sorted(shares, reverse=True)


def test_a_router_alone_does_not_judge_what_it_cannot_see() -> None:
    alone = Signals(queue_delay_s=0.0, standing_queue_delay_s=0.0, refused_ratio=0.0, alone=True)
    state = after(alone, 300, adopt(PolicyState(), ALL))
    assert state.published.levels == (LIGHTEN,)


def test_what_was_taken_over_can_be_disowned_until_it_is_confirmed() -> None:
    state = adopt(PolicyState(), ALL)
    assert state.published == ALL
    assert disown(state).published == DegradationState()
    confirmed = after(healthy(memory=0.9), 0.5, state)
    assert disown(confirmed).published.levels == (LIGHTEN,)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(some.signals, st.floats(min_value=-1e6, max_value=1e6), st.integers(1, 12)), max_size=6),
    some.degradations,
)
def test_whatever_is_read_and_whenever_the_decision_is_in_bounds_and_no_level_goes_before_its_hold(
    readings: list[tuple[Signals, float, int]], held: DegradationState
) -> None:
    state = adopt(PolicyState(), held)
    assert set(held.levels) == set(state.published.levels)
    since = dict.fromkeys(held.levels, 0.0)
    holds = {OFFLOAD: 10.0, LIGHTEN: 30.0, ADMIT: 10.0}
    for signals, start, ticks in readings:
        for tick in range(ticks):
            before = state.time_s
            state, decided = decide(signals, state, start + tick / 2)
            assert 0.0 <= state.time_s - before <= 0.5 + 1e-9
            assert decided == state.published
            assert list(decided.levels) == sorted(set(decided.levels))
            assert 0.0 <= decided.offload_share <= 1.0
            assert 0.0 <= decided.lighten_share <= 1.0
            assert 0.0 <= decided.admit_scale <= 1.0
            for level, hold_s in holds.items():
                if level in decided.levels:
                    since.setdefault(level, state.time_s)
                elif level in since:
                    assert state.time_s - since.pop(level) >= hold_s - 1e-3


@given(some.signals, some.degradations)
def test_the_same_reading_gives_the_same_decision(signals: Signals, held: DegradationState) -> None:
    state = adopt(PolicyState(), held)
    assert decide(signals, state, 5.0) == decide(signals, state, 5.0, DEFAULT_THRESHOLDS)


def tight(lowering: float, memory: float = 0.86) -> Signals:
    return healthy(memory=memory, lowering_ratio=lowering)


def test_a_lower_precision_comes_first_where_it_is_foreseen_to_be_enough() -> None:
    state = after(tight(0.2), 0.5)
    assert (state.published.levels, state.published.lighten_share) == ((LIGHTEN,), 0.0)
    assert state.published.lowers_only
    assert state.reason == "memory 0.86 >= 0.85 for 0.3 s; lower precisions free 0.20"


@pytest.mark.parametrize("lowering", [0.0, 0.01])
def test_copies_take_over_at_once_where_it_would_not_be(lowering: float) -> None:
    state = after(tight(lowering), 0.5)
    assert (state.published.levels, state.published.lighten_share) == ((LIGHTEN,), 1.0)


def test_copies_take_over_when_lower_precisions_have_had_their_time_and_memory_is_tight_all_the_same() -> None:
    state = after(tight(0.2), 5.0)
    assert state.published.lowers_only
    state = after(tight(0.0), 1.0, state, 5.1)
    assert (state.published.levels, state.published.lighten_share) == ((LIGHTEN,), 1.0)
    assert state.reason == "memory 0.86 >= 0.85 for 0.3 s, in lower precisions"


def test_where_lower_precisions_were_enough_the_level_stays_at_them_and_goes_when_there_is_room_again() -> None:
    state = after(tight(0.2), 0.5)
    state = after(healthy(memory=0.66, full_reload_ratio=0.2), 60, state, 0.6)
    assert state.published.lowers_only
    state = after(healthy(memory=0.5, full_reload_ratio=0.2), 16, state, 61)
    assert state.published == DegradationState()


def test_an_order_that_was_taken_over_keeps_its_precision_until_the_level_goes_and_no_longer() -> None:
    ordered = DegradationState(levels=(LIGHTEN,), precision=Precision.FP8)
    state = adopt(PolicyState(), ordered)
    assert state.published == ordered
    state = after(healthy(memory=0.5), 29, state)
    assert state.published == ordered
    state = after(healthy(memory=0.5), 2, state, 29.1)
    assert state.published == DegradationState()
    assert after(tight(0.2), 0.5, state, 31.2).published.precision is Precision.OWN
