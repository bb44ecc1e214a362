"""When an answer is expected, and how likely it is to be in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.queueing.queue import VariantQueue
from services.router.requests.device_pool import DevicePool
from services.router.requests.request import PendingRequest, Request
from services.router.scheduling.capacity_snapshot import VariantCapacity, WorkerGroupCapacity
from services.router.scheduling.latency_estimator import Candidate, candidates, chance
from sluice.domain.enums import Tier
from tests.unit.router.offers import offer

TOKENS = 20


def crew(*offers: VariantCapacity, workers: int = 1, free_in_s: float = 0.0) -> WorkerGroupCapacity:
    for one in offers:
        one.workers = workers
    return WorkerGroupCapacity(
        pool=DevicePool.CPU, workers=workers, free_in_s=free_in_s, uncertain_s=0.0, offers=offers
    )


def queue_of(name: str, *waiting: tuple[float, bool]) -> VariantQueue:
    queue = VariantQueue(name)
    for number, (deadline, hot) in enumerate(waiting):
        # 72 bytes are estimated to be 20 tokens.
        request = Request(model="m", text="x" * 72, deadline=deadline)
        queue.push(PendingRequest(number, request, lambda outcome: None, hot=hot, now=0.0))
    return queue


def expected(
    *crews: WorkerGroupCapacity, queues: tuple[VariantQueue, ...] = (), hot: bool = False, deadline: float = 5.0
) -> list[Candidate]:
    by_name = {queue.variant_id: queue for queue in queues}
    return candidates(crews, by_name.get, model="m", hot=hot, deadline=deadline, tokens=TOKENS, now=0.0)


def seconds(*crews: WorkerGroupCapacity, **more: object) -> float:
    (one,) = expected(*crews, **more)  # type: ignore[arg-type]
    return one.expected_s


def test_on_an_idle_mesh_it_takes_the_batch_and_the_way() -> None:
    light = offer(Tier.LIGHT)
    assert seconds(crew(light)) == pytest.approx(light.alone_s(TOKENS))


def test_the_batch_that_runs_is_waited_for() -> None:
    idle, busy = seconds(crew(offer(Tier.LIGHT))), seconds(crew(offer(Tier.LIGHT), free_in_s=0.3))
    assert busy - idle == pytest.approx(0.3)


def test_a_short_queue_travels_along_and_a_long_one_is_waited_for() -> None:
    light = offer(Tier.LIGHT)
    short = queue_of("m/light", *[(1.0, False)] * 5)
    long = queue_of("m/light", *[(1.0, False)] * 500)
    assert seconds(crew(light), queues=(short,)) == pytest.approx(light.alone_s(6 * TOKENS))
    assert seconds(crew(light), queues=(long,)) > 500 * TOKENS * light.token_s


def test_more_workers_share_what_waits() -> None:
    long = queue_of("m/light", *[(1.0, False)] * 500)
    one, four = (seconds(crew(offer(Tier.LIGHT), workers=count), queues=(long,)) for count in (1, 4))
    assert four < one / 2


def test_what_is_due_later_does_not_stand_before_it() -> None:
    light, later = crew(offer(Tier.LIGHT)), queue_of("m/light", *[(9.0, False)] * 500)
    assert seconds(light, queues=(later,)) == seconds(light)


def test_hot_work_waits_for_no_cold_work_and_cold_work_for_all_that_is_hot() -> None:
    light = crew(offer(Tier.LIGHT))
    cold, hot = queue_of("m/light", *[(1.0, False)] * 500), queue_of("m/light", *[(9.0, True)] * 500)
    assert seconds(light, queues=(cold,), hot=True) == seconds(light)
    assert seconds(light, queues=(hot,)) > 0.1
    assert seconds(light, queues=(hot,), hot=True) == seconds(light)


def test_the_queues_of_all_variants_that_the_workers_serve_are_waited_for() -> None:
    light, quantized = offer(Tier.LIGHT), offer(Tier.QUANTIZED)
    waiting = queue_of("m/light", *[(1.0, False)] * 50)
    both = {one.offer.tier: one.expected_s for one in expected(crew(light, quantized), queues=(waiting,))}
    assert both[Tier.QUANTIZED] == pytest.approx(quantized.alone_s(TOKENS) + 50 * TOKENS * light.token_s)


def test_who_will_come_until_the_batch_is_formed_makes_it_longer() -> None:
    light = offer(Tier.LIGHT)
    quiet = seconds(crew(light, free_in_s=0.1))
    light.flow = 5_000.0
    assert seconds(crew(light, free_in_s=0.1)) == pytest.approx(quiet + 500 * light.token_s)


def test_other_models_are_no_options_and_are_waited_for_all_the_same() -> None:
    other = offer(Tier.LIGHT, name="other/light")
    other.model = "other"
    waiting = queue_of("other/light", *[(1.0, False)] * 500)
    found = expected(crew(offer(Tier.QUANTIZED), other), queues=(waiting,))
    assert [one.offer.tier for one in found] == [Tier.QUANTIZED]
    assert found[0].expected_s > 0.1


@given(st.floats(-1, 10), st.floats(0, 10), st.floats(0.002, 5))
def test_a_chance_is_a_probability_and_grows_with_the_time_there_is(
    slack_s: float, expected_s: float, sigma_s: float
) -> None:
    assert 0 <= chance(slack_s, expected_s, sigma_s) <= chance(slack_s + 0.1, expected_s, sigma_s) <= 1


def test_even_odds_are_even() -> None:
    assert chance(1.0, 1.0, 0.3) == pytest.approx(0.5)
    assert chance(1.3, 1.0, 0.3) == pytest.approx(0.841, abs=1e-3)
    assert (chance(9.0, 1.0, 0.3), chance(0.0, 9.0, 0.3)) == (1.0, 0.0)
