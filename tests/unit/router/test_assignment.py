"""Which variant answers, at which prices and under which levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.requests.device_pool import DevicePool
from services.router.scheduling.latency_estimator import Candidate
from services.router.scheduling.prices import HIGHEST, LOWEST
from services.router.scheduling.scoring import (
    FAITHFUL,
    LAST_HOPE,
    PREFERENCE,
    Assignment,
    Cause,
    Refused,
    SchedulingRequest,
    pick,
    required_probability,
    score,
)
from sluice.domain.enums import QueryClass, Tier
from tests.unit.router.offers import offer, option

TIERS = (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED)
IDLE = (LOWEST, LOWEST)
BEST = {tier: offer(tier) for tier in TIERS}
NEVER = 2.0


def ask(**more: Any) -> SchedulingRequest:
    hot = more.pop("hot", False)
    usual = SchedulingRequest(
        query_class=QueryClass.UNSPECIFIED,
        minimum_tier=Tier.UNSPECIFIED,
        priority=0.8 if hot else 0.5,
        hot=hot,
        slack_s=1.0,
        bucket=3,
        tokens=20,
        hope=LAST_HOPE if hot else NEVER,
    )
    return replace(usual, **more)


def chosen(asked: SchedulingRequest, *options: Candidate, prices: tuple[float, float] = IDLE) -> Tier:
    assigned = pick(asked, options or [option(tier) for tier in TIERS], prices=prices, best=BEST)
    assert isinstance(assigned, Assignment), assigned
    return next(tier for tier in TIERS if assigned.variant_id == f"m/{tier.label}")


def refused(asked: SchedulingRequest, *options: Candidate) -> Refused:
    assigned = pick(asked, options, prices=IDLE, best=BEST)
    assert isinstance(assigned, Refused), assigned
    return assigned


def test_without_load_quality_decides_and_of_equals_the_cheapest() -> None:
    assert chosen(ask()) is Tier.FULL
    equals = [Candidate(offer(tier, quality=0.9), 0.01, 1.0) for tier in TIERS]
    assert chosen(ask(), *equals) is Tier.QUANTIZED


def test_as_the_accelerators_price_rises_the_least_important_leave_first() -> None:
    left: dict[float, float] = {}
    for priority in (0.0, 0.3, 0.6, 0.8, 1.0):
        asked = ask(priority=priority, hot=priority >= 0.7)
        steps = [step / 50 for step in range(round(HIGHEST * 50))]
        left[priority] = next(price for price in steps if chosen(asked, prices=(price, LOWEST)) is not Tier.FULL)
    assert list(left.values()) == sorted(left.values())
    assert left[0.0] < left[1.0] / 2


@pytest.mark.parametrize("query_class", list(PREFERENCE))
def test_a_named_class_has_its_tier_while_the_pools_are_not_full(query_class: QueryClass) -> None:
    assert chosen(ask(query_class=query_class), prices=(0.0, 0.0)) is PREFERENCE[query_class][0]


@pytest.mark.parametrize("query_class", list(PREFERENCE))
def test_a_named_class_takes_the_next_tier_in_its_order_when_the_first_would_be_late(query_class: QueryClass) -> None:
    order = PREFERENCE[query_class]
    options = [option(tier, 0.5 if tier is order[0] else 1.0) for tier in TIERS]
    assert chosen(ask(query_class=query_class), *options, prices=(0.0, 0.0)) is order[1]


def test_a_named_class_gives_way_when_its_pool_is_full_and_the_least_important_first() -> None:
    asked = ask(query_class=QueryClass.COMPLEX, priority=0.1)
    assert chosen(asked, prices=(1.0, 0.0)) is Tier.LIGHT
    assert chosen(replace(asked, priority=1.0, hot=True), prices=(1.0, 0.0)) is Tier.FULL


@given(
    st.sampled_from([Tier.UNSPECIFIED, *TIERS]),
    st.lists(st.tuples(st.sampled_from(TIERS), st.floats(0, 1), st.sampled_from(DevicePool)), max_size=6),
    st.sampled_from(QueryClass),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.tuples(st.floats(0, HIGHEST), st.floats(0, HIGHEST)),
)
def test_the_callers_minimum_is_honoured_or_the_request_refused_whatever_the_load_and_the_levels(
    minimum: Tier,
    offered: list[tuple[Tier, float, DevicePool]],
    query_class: QueryClass,
    hot: bool,
    diverted: bool,
    lightened: bool,
    prices: tuple[float, float],
) -> None:
    options = [option(tier, chance, pool=pool) for tier, chance, pool in offered]
    asked = ask(
        minimum_tier=minimum, query_class=query_class, hot=hot, diverted=diverted, lightened=lightened, hope=NEVER
    )
    if hot:
        asked.hope = LAST_HOPE
    assigned = pick(asked, options, prices=prices, best=BEST)
    acceptable = [one for one in options if one.offer.tier >= minimum]
    if isinstance(assigned, Refused):
        assert (assigned.cause is Cause.NOBODY) == (not acceptable)
        assert all(one.chance < required_probability(asked) for one in acceptable)
    else:
        taken = [one for one in acceptable if one.offer.variant_id == assigned.variant_id]
        assert taken
        assert max(one.chance for one in taken) >= (LAST_HOPE if hot else required_probability(asked))
        assert assigned.degraded_from in {Tier.UNSPECIFIED, *(t for t in TIERS if t > taken[0].offer.tier)}


def test_of_answers_that_are_all_in_time_the_sooner_is_worth_more() -> None:
    soon, late = option(Tier.FULL, expected_s=0.1), option(Tier.FULL, expected_s=0.9)
    assert score(ask(), soon, IDLE) > score(ask(), late, IDLE) > 0
    assert chosen(ask(), option(Tier.FULL, expected_s=0.9), option(Tier.LIGHT)) is Tier.LIGHT


def test_hot_work_is_owed_more_certainty_than_other_work() -> None:
    assert (
        required_probability(ask(hot=True))
        > required_probability(ask(priority=0.6))
        > required_probability(ask(priority=0.1))
    )


def test_where_nobody_is_certain_hot_work_takes_the_likeliest_and_the_rest_is_refused() -> None:
    options = [option(Tier.FULL, 0.4, expected_s=1.1), option(Tier.LIGHT, 0.6, expected_s=1.05)]
    assert chosen(ask(hot=True), *options) is Tier.LIGHT
    assert refused(ask(), *options).cause is Cause.TOO_BUSY
    assert refused(ask(hot=True), option(Tier.FULL, LAST_HOPE / 2, expected_s=1.4)).cause is Cause.TOO_BUSY


def test_a_refusal_says_how_much_sooner_somebody_would_have_to_be_free() -> None:
    options = [option(Tier.FULL, 0.0, expected_s=3.0), option(Tier.LIGHT, 0.0, expected_s=1.5)]
    assert refused(ask(), *options).excess_s == pytest.approx(0.5)


def test_what_even_an_idle_mesh_could_not_do_in_time_is_too_late_and_not_too_busy() -> None:
    assert refused(ask(slack_s=0.0005), option(Tier.LIGHT, 0.0)).cause is Cause.TOO_LATE
    assert refused(ask(minimum_tier=Tier.FULL), option(Tier.LIGHT)).cause is Cause.NOBODY


def test_what_was_promised_hopes_to_the_end() -> None:
    assert chosen(ask(hope=0.0), option(Tier.FULL, 0.0), option(Tier.LIGHT, 0.01)) is Tier.LIGHT


def test_level_one_keeps_work_off_the_accelerators_and_says_what_that_saved() -> None:
    assigned = pick(ask(diverted=True), [option(tier) for tier in TIERS], prices=IDLE, best=BEST)
    assert isinstance(assigned, Assignment)
    assert (assigned.pool, assigned.degraded_from) == (DevicePool.CPU, Tier.FULL)
    assert assigned.diverted_token_s == BEST[Tier.FULL].token_s


def test_level_one_takes_no_credit_for_what_would_not_have_gone_there() -> None:
    asked = ask(diverted=True, query_class=QueryClass.REAL_TIME)
    assigned = pick(asked, [option(tier) for tier in TIERS], prices=IDLE, best=BEST)
    assert isinstance(assigned, Assignment)
    assert assigned.diverted_token_s == 0


def test_level_two_keeps_work_off_the_full_tier() -> None:
    assert chosen(ask(lightened=True, query_class=QueryClass.COMPLEX)) is Tier.LIGHT


@pytest.mark.parametrize("level", ["diverted", "lightened"])
def test_a_level_steers_and_never_takes_the_last_one_away(level: str) -> None:
    assert chosen(ask(minimum_tier=Tier.FULL, **{level: True})) is Tier.FULL
    late = [option(Tier.FULL), option(Tier.LIGHT, 0.1), option(Tier.QUANTIZED, 0.1)]
    assert chosen(ask(**{level: True}), *late) is Tier.FULL


def test_an_answer_below_what_full_service_would_have_given_is_degraded_from_that() -> None:
    everybody = [option(tier) for tier in TIERS]
    for asked, prices, expected in (
        (ask(), IDLE, Tier.UNSPECIFIED),
        (ask(priority=0.0), (HIGHEST, LOWEST), Tier.FULL),
        (ask(query_class=QueryClass.COMPLEX, priority=0.0), (HIGHEST, 0.0), Tier.FULL),
        (ask(query_class=QueryClass.SIMPLE), (HIGHEST, 0.0), Tier.UNSPECIFIED),
        (ask(slack_s=0.003), IDLE, Tier.UNSPECIFIED),
    ):
        options = (
            [replace(one, chance=0.0) for one in everybody[:1]] + everybody[1:] if asked.slack_s < 1 else everybody
        )
        assigned = pick(asked, options, prices=prices, best=BEST)
        assert isinstance(assigned, Assignment)
        assert assigned.degraded_from is expected, asked


def test_a_tier_that_is_down_is_missed_as_one_that_is_busy_is() -> None:
    assigned = pick(ask(query_class=QueryClass.COMPLEX), [option(Tier.LIGHT)], prices=(0.0, 0.0), best=BEST)
    assert isinstance(assigned, Assignment)
    assert assigned.degraded_from is Tier.FULL


def test_a_conversation_keeps_its_variant_for_a_small_loss_and_leaves_it_for_a_large_one() -> None:
    options = [option(tier) for tier in TIERS]
    full, light = (score(ask(), one, IDLE) for one in options[:2])
    assert (full - light) / light > FAITHFUL
    assert chosen(ask(kept="m/light")) is Tier.FULL
    closer = [options[0], Candidate(offer(Tier.LIGHT, quality=0.95), 0.01, 1.0), options[2]]
    assert chosen(ask(kept="m/light"), *closer) is Tier.LIGHT
    assert chosen(ask(), *closer) is Tier.FULL
    assert chosen(ask(kept="m/gone"), *closer) is Tier.FULL


def test_a_conversation_leaves_a_variant_that_would_be_late() -> None:
    late = [option(Tier.FULL), Candidate(offer(Tier.LIGHT, quality=1.0), 2.0, 0.2)]
    assert chosen(ask(kept="m/light"), *late) is Tier.FULL


def test_nothing_counts_as_diverted_but_what_level_1_has_moved_to_a_processor() -> None:
    full, light = option(Tier.FULL), option(Tier.LIGHT)
    # Level 2 alone moves it to the CPU pool; level 1 alone finds nobody there.
    lightened = pick(ask(lightened=True), [full, light], prices=IDLE, best=BEST)
    alone = pick(ask(diverted=True), [full], prices=IDLE, best=BEST)
    moved = pick(ask(diverted=True), [full, light], prices=IDLE, best=BEST)
    assert isinstance(lightened, Assignment)
    assert isinstance(alone, Assignment)
    assert isinstance(moved, Assignment)
    assert [lightened.pool, alone.pool, moved.pool] == [DevicePool.CPU, DevicePool.ACCELERATOR, DevicePool.CPU]
    assert [one.diverted_token_s for one in (lightened, alone, moved)] == [0.0, 0.0, full.offer.token_s]
