"""What crews of workers offer at a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.router.requests.device_pool import DevicePool
from services.router.scheduling.capacity_snapshot import (
    BELIEVED_COST,
    HALF_LIFE_S,
    CapacitySnapshot,
    PlacementRate,
    SnapshotBuilder,
    VariantCapacity,
    WorkerGroupCapacity,
)
from sluice.domain.enums import Tier
from tests.unit.router.offers import TOKEN_S, Bench, variant

FULL, LIGHT, QUANTIZED = (variant(tier) for tier in (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED))
NOW = 100.0


def look(*workers: Bench, survey: SnapshotBuilder | None = None, flow: PlacementRate | None = None) -> CapacitySnapshot:
    return (survey or SnapshotBuilder(max_batch_size=128)).look(
        workers, flow or PlacementRate(), item_tokens=20.0, now=NOW
    )


def offers(outlook: CapacitySnapshot) -> dict[str, VariantCapacity]:
    return {offer.variant_id: offer for crew in outlook.all_crews() for offer in crew.offers}


def only(outlook: CapacitySnapshot) -> WorkerGroupCapacity:
    (crew,) = outlook.all_crews()
    return crew


def test_workers_that_hold_the_same_in_the_same_pool_are_one_crew() -> None:
    outlook = look(
        Bench(LIGHT, QUANTIZED), Bench(LIGHT, QUANTIZED), Bench(FULL), Bench(LIGHT, pool=DevicePool.ACCELERATOR)
    )
    found = sorted((crew.pool, crew.workers, len(crew.offers)) for crew in outlook.all_crews())
    assert found == [(DevicePool.ACCELERATOR, 1, 1), (DevicePool.ACCELERATOR, 1, 1), (DevicePool.CPU, 2, 2)]
    assert {offer.workers for crew in outlook.all_crews() for offer in crew.offers if offer.tier is Tier.LIGHT} == {3}
    assert outlook.workers == {DevicePool.ACCELERATOR: 2, DevicePool.CPU: 2}


def test_costs_are_relative_to_the_full_tiers_even_after_it_has_gone() -> None:
    survey = SnapshotBuilder(max_batch_size=128)
    together = offers(look(Bench(FULL), Bench(LIGHT), survey=survey))
    assert together[FULL.id].relative_cost == 1
    assert together[LIGHT.id].relative_cost == pytest.approx(TOKEN_S[Tier.LIGHT] / TOKEN_S[Tier.FULL], rel=0.5)
    alone = look(Bench(LIGHT), survey=survey)
    assert offers(alone)[LIGHT.id].relative_cost == pytest.approx(together[LIGHT.id].relative_cost)
    assert set(alone.best["m"]) == {Tier.FULL, Tier.LIGHT}


def test_what_is_not_known_costs_what_its_tier_is_believed_to_cost() -> None:
    guessed = variant(Tier.LIGHT, token_s=0)
    assert offers(look(Bench(FULL), Bench(guessed)))[guessed.id].relative_cost == BELIEVED_COST[Tier.LIGHT]
    assert offers(look(Bench(guessed), Bench(QUANTIZED)))[QUANTIZED.id].relative_cost < 1


def test_quality_is_read_against_the_full_model_that_was_once_there() -> None:
    survey = SnapshotBuilder(max_batch_size=128)
    light = replace(LIGHT, quality_by_complexity=(0.45,) * 8)
    look(Bench(replace(FULL, quality_by_complexity=(0.9,) * 8)), survey=survey)
    assert offers(look(Bench(light), survey=survey))[LIGHT.id].quality == pytest.approx([0.5] * 8)


def test_the_first_worker_to_be_free_counts() -> None:
    busy, busier = Bench(LIGHT), Bench(LIGHT)
    busy.works_on(LIGHT.id, 1_000, begun_at=NOW)
    busier.works_on(LIGHT.id, 5_000, begun_at=NOW)
    expected_s = busy.times.batch_s(LIGHT.id, 1_000, NOW)
    assert only(look(busy, busier)).free_in_s == pytest.approx(expected_s)
    assert only(look(busy, busier, Bench(LIGHT))).free_in_s == 0


def test_what_takes_longer_than_expected_is_expected_to_take_longer_still() -> None:
    late, stuck = Bench(LIGHT), Bench(LIGHT)
    for worker in (late, stuck):
        worker.works_on(LIGHT.id, 10, begun_at=NOW - 4.0)
    stuck.conduct.hang()
    assert only(look(late)).free_in_s == pytest.approx(1.0)
    assert only(look(stuck)).free_in_s == pytest.approx(4.0)
    assert only(look(stuck)).uncertain_s > 0


def test_who_is_out_counts_only_where_nobody_else_is_left() -> None:
    out = Bench(LIGHT, QUANTIZED)
    out.conduct.hang()
    crews = {crew.offers[0].variant_id: crew for crew in look(out, Bench(LIGHT)).all_crews()}
    assert {name: len(crew.offers) for name, crew in crews.items()} == {LIGHT.id: 1, QUANTIZED.id: 1}
    assert crews[LIGHT.id].free_in_s == 0
    assert crews[QUANTIZED.id].workers == 1
    assert look(out, Bench(LIGHT)).workers[DevicePool.CPU] == 1


def test_who_has_nothing_to_do_and_takes_nothing_is_not_counted_on() -> None:
    shut = Bench(LIGHT)
    shut.credits, shut.last_message_at = 0, NOW - 3.0
    assert only(look(shut)).free_in_s == pytest.approx(3.0)


def test_who_is_away_offers_nothing() -> None:
    away = Bench(LIGHT)
    away.is_serving = False
    assert list(look(away, Bench()).all_crews()) == []


def test_the_cheapest_acceptable_offer_is_what_admission_counts_by() -> None:
    least = look(Bench(FULL), Bench(LIGHT, QUANTIZED)).least_token_s
    assert least["m", Tier.UNSPECIFIED] == least["m", Tier.QUANTIZED] < least["m", Tier.LIGHT] < least["m", Tier.FULL]


def test_what_nobody_measured_is_nobodys_price() -> None:
    guessed = variant(Tier.LIGHT, token_s=0)
    assert look(Bench(guessed)).least_token_s == {}
    tried = Bench(guessed)
    tried.times.learn(guessed.id, tokens=100, compute_s=0.01, elapsed_s=0.01, now=NOW)
    assert set(look(tried).least_token_s) == {("m", tier) for tier in Tier if tier <= Tier.LIGHT}


def test_what_is_placed_flows_and_dries_up_when_nothing_is() -> None:
    flow = PlacementRate()
    for step in range(100):
        flow.place(LIGHT.id, 100)
        flow.roll(NOW + step * 0.02)
    assert offers(look(Bench(LIGHT), flow=flow))[LIGHT.id].flow == pytest.approx(5_000, rel=0.01)
    flow.roll(NOW + 2.0 + 20 * HALF_LIFE_S)
    assert flow.rate(LIGHT.id) < 1
    assert flow.rate("unknown") == 0
