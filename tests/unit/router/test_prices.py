"""What device time costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.router.requests.device_pool import SPILLOVER_MULTIPLIER, DevicePool, pool_of, price_multiplier
from services.router.scheduling.prices import ENOUGH, FULL, HIGHEST, LOWEST, USUAL, PoolPrices, next_price
from sluice.domain.enums import Task, Tier
from sluice.domain.variant import Variant

loads = st.floats(0, 100)


@given(st.floats(0, HIGHEST), loads, st.floats(0, 1), st.sampled_from([USUAL, FULL]))
def test_a_price_stays_in_its_bounds_and_rises_only_beyond_the_target(
    price: float, load: float, share: float, target: float
) -> None:
    least = load * share
    after = next_price(price, load, least, target)
    assert 0 <= after <= HIGHEST
    if load < target:
        assert after <= price
    if load > target >= least and price < HIGHEST:
        assert after > price


def test_where_all_are_beyond_the_target_the_one_that_is_loaded_most_becomes_the_dearest() -> None:
    lighter, heavier = 0.0, 0.0
    for _ in range(100):
        lighter, heavier = next_price(lighter, 1.2, 1.2, USUAL), next_price(heavier, 1.5, 1.2, USUAL)
    assert ENOUGH <= lighter < ENOUGH + 0.2
    assert heavier > lighter + 1


class Market:
    """Prices over time; every pool has one worker."""

    def __init__(self) -> None:
        self.prices = PoolPrices()

    def run(self, seconds: float, *, accelerator: float, cpu: float, backlog_s: float = 0.0) -> None:
        for _ in range(round(seconds / 0.1)):
            self.prices.commit(DevicePool.ACCELERATOR, accelerator * 0.1)
            self.prices.commit(DevicePool.CPU, cpu * 0.1)
            backlog = {DevicePool.ACCELERATOR: backlog_s, DevicePool.CPU: 0.0}
            self.prices.tick(0.1, workers=dict.fromkeys(DevicePool, 1), backlog_s=backlog)


def test_idle_time_costs_next_to_nothing_and_a_busy_pools_time_more_and_more() -> None:
    market = Market()
    market.run(1, accelerator=0.3, cpu=0.1)
    assert market.prices.usual == [LOWEST, LOWEST]
    assert market.prices.full == [0.0, 0.0]
    market.run(2, accelerator=1.5, cpu=0.1)
    assert market.prices.usual[DevicePool.ACCELERATOR] > 1 > market.prices.usual[DevicePool.CPU] == LOWEST


def test_who_names_a_class_pays_only_when_the_pool_is_all_but_full() -> None:
    market = Market()
    market.run(5, accelerator=0.9, cpu=0.1)
    assert market.prices.usual[DevicePool.ACCELERATOR] > 0.5
    assert market.prices.full[DevicePool.ACCELERATOR] == 0
    market.run(3, accelerator=1.3, cpu=0.1)
    assert market.prices.full[DevicePool.ACCELERATOR] > 0.5


def test_a_queue_weighs_beside_what_is_committed() -> None:
    market = Market()
    market.run(3, accelerator=0.5, cpu=0.1, backlog_s=1.0)
    assert market.prices.usual[DevicePool.ACCELERATOR] > 0.5


def test_prices_fall_again_when_the_load_has_gone() -> None:
    market = Market()
    market.run(20, accelerator=3.0, cpu=0.1)
    assert market.prices.usual[DevicePool.ACCELERATOR] == HIGHEST
    market.run(5, accelerator=0.0, cpu=0.0)
    assert market.prices.usual[DevicePool.ACCELERATOR] == LOWEST


def test_a_pool_without_workers_has_no_load_and_counts_for_nobody() -> None:
    prices = PoolPrices()
    for _ in range(50):
        prices.commit(DevicePool.CPU, 0.2)
        prices.tick(
            0.1, workers={DevicePool.ACCELERATOR: 0, DevicePool.CPU: 1}, backlog_s=dict.fromkeys(DevicePool, 0.0)
        )
    assert prices.loads[DevicePool.ACCELERATOR] == 0
    assert prices.usual[DevicePool.CPU] >= ENOUGH
    assert prices.usual[DevicePool.ACCELERATOR] == LOWEST


def test_a_guest_pays_rent_and_a_pool_s_own_does_not() -> None:
    assert price_multiplier(DevicePool.ACCELERATOR, hot=True) == price_multiplier(DevicePool.CPU, hot=False) == 1
    assert (
        price_multiplier(DevicePool.ACCELERATOR, hot=False)
        == price_multiplier(DevicePool.CPU, hot=True)
        == SPILLOVER_MULTIPLIER
    )


def variant(tier: Tier, device: str = "cpu") -> Variant:
    return Variant(id=f"m/{tier.label}", model="m", tier=tier, task=Task.TEXT_CLASSIFICATION, device=device)


def test_who_holds_the_full_model_or_a_device_is_an_accelerator_worker_and_remains_one() -> None:
    assert pool_of([variant(Tier.LIGHT), variant(Tier.QUANTIZED)], before=DevicePool.CPU) is DevicePool.CPU
    assert pool_of([variant(Tier.FULL)], before=DevicePool.CPU) is DevicePool.ACCELERATOR
    assert pool_of([variant(Tier.LIGHT, "cuda")], before=DevicePool.CPU) is DevicePool.ACCELERATOR
    assert pool_of([variant(Tier.LIGHT)], before=DevicePool.ACCELERATOR) is DevicePool.ACCELERATOR
