"""The admission law in thousands of seeded steps, against workers of every kind, and against having none."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.simulation.queue_model import Job, Offer, QueueModel, Workers, arrivals, with_hot

# One request after the other, and batches of 16 and of 128 whose fixed part makes small ones dear.
FLUID = Workers(item_s=1 / 1500)
BATCHES = Workers(item_s=0.5e-3, batch_s=0.003, max_batch=16)
LARGE_BATCHES = Workers(item_s=0.6e-3, batch_s=0.02, max_batch=128)
TWO_DEVICES = Workers(item_s=1e-3, batch_s=0.006, max_batch=32, devices=2)
every_worker = pytest.mark.parametrize(
    "workers", [FLUID, BATCHES, LARGE_BATCHES, TWO_DEVICES], ids=["fluid", "batches", "large", "two"]
)
LOADS = (0.8, 1.5, 3.0, 5.0, 0.8)
SEGMENT = 5


def timeout_s(workers: Workers) -> float:
    """A time limit in which two batches and a queue have room."""
    return max(0.5, 10 * workers.time_s(workers.max_batch, 0.0))


def stream(workers: Workers, load: Callable[[float], float], **options: Any) -> Offer:
    """An open loop of `load(now)` times what the workers can do."""
    options.setdefault("timeout_s", timeout_s(workers))
    return arrivals(lambda now: load(now) * workers.per_s, **options)


def steps(loads: Sequence[float]) -> Callable[[float], float]:
    """One load after the other, for SEGMENT seconds each."""
    return lambda now: loads[min(len(loads) - 1, int(now / SEGMENT))]


def segment(number: int) -> tuple[int, int]:
    """The seconds of a load of `steps`."""
    return number * SEGMENT, (number + 1) * SEGMENT


def stepped(workers: Workers, seed: int, *, adaptive: bool = True, **options: Any) -> QueueModel:
    """A sixth of the requests is hot: at five times the capacity, 0.83 of it."""
    offer = stream(workers, steps(LOADS), priority=with_hot(1 / 6))
    model = QueueModel(workers, offer, adaptive=adaptive, seed=seed, **options)
    model.run(SEGMENT * len(LOADS) + 2)
    return model


@pytest.mark.parametrize("seed", range(3))
@every_worker
def test_whatever_is_offered_the_workers_do_what_they_can_and_hot_requests_are_answered(
    workers: Workers, seed: int
) -> None:
    model = stepped(workers, seed)
    for number in (1, 2, 3):
        assert model.goodput(*segment(number)) >= 0.97
    assert model.answered(0, SEGMENT * len(LOADS), hot=True) >= 0.999
    first, last = segment(4)
    # A second after the load has fallen everything is answered again, and nobody waits.
    assert model.answered(first + 1, last) >= 0.999
    assert max(model.queue_s[10 * (first + 1) : 10 * last]) <= 2 * model.resource.target_s


# A worker that takes one request at a time never works for one that is late, so only batches can collapse here.
@pytest.mark.parametrize("workers", [BATCHES, LARGE_BATCHES, TWO_DEVICES], ids=["batches", "large", "two"])
def test_without_the_law_the_same_workers_do_half_of_it_or_less_for_those_who_are_in_time(workers: Workers) -> None:
    model = stepped(workers, 1, adaptive=False)
    assert min(model.goodput(*segment(number)) for number in (1, 2, 3)) <= 0.6
    law = stepped(workers, 1)
    for number in (1, 2, 3):
        first, last = segment(number)
        assert law.answered(first, last) > model.answered(first, last)


@pytest.mark.parametrize("error", [0.8, 1.2])
@every_worker
def test_an_estimate_that_is_a_fifth_wrong_costs_little(workers: Workers, error: float) -> None:
    model = stepped(workers, 1, served_error=error)
    for number in (1, 2, 3):
        assert model.goodput(*segment(number)) >= 0.95
    assert model.answered(0, SEGMENT * len(LOADS), hot=True) >= 0.995


@pytest.mark.parametrize("load", [0.05, 0.3, 0.6, 0.8, 0.9])
@every_worker
def test_what_can_be_served_is_not_refused(workers: Workers, load: float) -> None:
    model = QueueModel(workers, stream(workers, lambda now: load))
    model.run(12)
    assert model.answered(0, 10) == 1.0


@every_worker
def test_bursts_that_leave_everybody_in_time_are_not_refused(workers: Workers) -> None:
    model = QueueModel(workers, stream(workers, lambda now: 0.7, cv=3.0, timeout_s=1.0))
    model.run(12)
    assert model.answered(0, 10) >= 0.997


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.7), (0.02, 0.5), (0.3, 0.8)])
@every_worker
def test_a_load_that_rises_within_the_capacity_is_hardly_refused(workers: Workers, before: float, after: float) -> None:
    model = QueueModel(workers, stream(workers, lambda now: before if now < 3 else after))
    model.run(12)
    assert model.answered(0, 10) >= 0.98
    assert model.answered(4, 10) == 1.0


@pytest.mark.parametrize("drop_s", [1, 3])
@every_worker
def test_capacity_that_falls_by_four_fifths_and_returns_is_used_again_within_seconds(
    workers: Workers, drop_s: int
) -> None:
    back_at = 4 + drop_s
    weak = dataclasses.replace(workers, speed=lambda now: 0.2 if 4 <= now < back_at else 1.0)
    model = QueueModel(weak, stream(weak, lambda now: 0.8), retries=3)
    model.run(back_at + 10)
    assert model.answered(0, 4) >= 0.999
    assert model.answered(back_at + 4, back_at + 8) >= 0.99


def test_a_spike_with_callers_who_ask_again_passes_with_the_law_and_stays_without() -> None:
    def after_the_spike(*, adaptive: bool) -> float:
        offer = stream(BATCHES, lambda now: 3.0 if 4 <= now < 7 else 0.8)
        model = QueueModel(BATCHES, offer, adaptive=adaptive, retries=3)
        model.run(19)
        return model.answered(9, 17)

    assert after_the_spike(adaptive=True) >= 0.99
    assert after_the_spike(adaptive=False) <= 0.6


@every_worker
def test_hot_requests_alone_beyond_the_capacity_are_bounded_by_the_caps(workers: Workers) -> None:
    models = {}
    for adaptive in (True, False):
        offer = stream(workers, lambda now: 2.0, priority=lambda dice: 0.9)
        models[adaptive] = QueueModel(workers, offer, adaptive=adaptive)
        models[adaptive].run(10)
    assert models[True].goodput(2, 9) >= 0.97
    assert models[True].answered(2, 9) > models[False].answered(2, 9)
    assert max(models[True].queue_s[20:]) <= 0.6 * timeout_s(workers)


def test_no_traffic_is_no_evidence() -> None:
    model = QueueModel(BATCHES, stream(BATCHES, lambda now: 3.0 if now < 4 else 0.0 if now < 8 else 0.8))
    model.run(12)
    assert not model.admission.is_shedding
    assert model.answered(8, 11) == 1.0


@pytest.mark.parametrize(
    "client",
    [
        lambda dice: "",
        lambda dice: "the only one",
        lambda dice: f"p{dice.randrange(10)}",
        lambda dice: f"conversation {dice.randrange(3_000)}",
    ],
    ids=["nobody", "one", "ten", "conversations"],
)
@every_worker
def test_requests_all_alike_are_let_in_in_part(workers: Workers, client: Callable[[random.Random], str]) -> None:
    model = QueueModel(workers, stream(workers, lambda now: 2.0, priority=lambda dice: 0.5, client=client))
    model.run(10)
    assert model.goodput(2, 9) >= 0.97


@every_worker
def test_one_giant_client_does_not_take_the_room_of_the_many(workers: Workers) -> None:
    giant = stream(workers, lambda now: 2.0, priority=lambda dice: 0.5, client=lambda dice: "giant")
    many = stream(workers, lambda now: 0.5, priority=lambda dice: 0.5, client=lambda dice: f"p{dice.randrange(50)}")

    def both(now: float, dice: random.Random) -> list[Job]:
        return giant(now, dice) + many(now, dice)

    model = QueueModel(workers, both)
    model.run(12)
    offered, good = model.by_client.pop("giant")
    assert good / offered == pytest.approx(0.25, abs=0.05)
    small = [good / offered for offered, good in model.by_client.values()]
    assert min(small) > 0.9
    assert model.goodput(2, 11) >= 0.97


@pytest.mark.parametrize("jump_s", [-3600.0, -0.05, 0.4, 90.0])
@every_worker
def test_a_clock_that_jumps_disturbs_for_a_moment_at_most(workers: Workers, jump_s: float) -> None:
    model = QueueModel(workers, stream(workers, lambda now: 2.0, priority=with_hot(0.2)))
    model.run(4)
    model.skew_s = jump_s
    model.run(5)
    assert model.goodput(2, 8) >= 0.95
    assert model.answered(0, 8, hot=True) >= 0.995
