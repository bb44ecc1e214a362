"""What the workers can do, learnt from what they do."""

from __future__ import annotations

import pytest

from services.router.admission.limiter import ThroughputEstimator


def serve(estimate: ThroughputEstimator, per_s: float, *, windows: int, stood: bool, batch_s: float = 0.0) -> None:
    for _ in range(windows):
        estimate.add(per_s * 0.1)
        estimate.roll(0.1, batch_s=batch_s)
        estimate.learn(0.1, stood=stood)


def test_nothing_is_known_until_a_queue_has_stood() -> None:
    estimate = ThroughputEstimator()
    serve(estimate, 0.5, windows=20, stood=False)
    assert estimate.per_s is None
    assert estimate.at_least_per_s == pytest.approx(0.5)


def test_while_a_queue_stands_it_follows_what_is_served_both_ways() -> None:
    estimate = ThroughputEstimator()
    serve(estimate, 2.0, windows=20, stood=True)
    assert estimate.per_s == pytest.approx(2.0)
    serve(estimate, 0.4, windows=30, stood=True)
    assert estimate.per_s == pytest.approx(0.4, rel=0.05)


def test_without_a_queue_it_only_rises() -> None:
    estimate = ThroughputEstimator()
    serve(estimate, 2.0, windows=20, stood=True)
    serve(estimate, 0.1, windows=50, stood=False)
    assert estimate.per_s == pytest.approx(2.0)
    serve(estimate, 3.0, windows=20, stood=False)
    assert estimate.per_s == pytest.approx(3.0, rel=0.01)


def test_batches_that_come_in_lumps_are_not_taken_for_speed() -> None:
    estimate = ThroughputEstimator()
    for window in range(100):
        # 128 ms of work every fourth window: 0.32 a second.
        estimate.add(0.128 if window % 4 == 0 else 0.0)
        estimate.roll(0.1, batch_s=0.4)
        estimate.learn(0.1, stood=True)
        if window > 20:
            assert 0.2 < (estimate.per_s or 0.0) < 0.5


def test_workers_that_do_nothing_teach_nothing_at_first() -> None:
    estimate = ThroughputEstimator()
    serve(estimate, 0.0, windows=5, stood=True)
    assert estimate.per_s is None
    assert estimate.at_least_per_s == 0.0


def test_workers_that_stand_still_for_a_while_are_not_taken_for_slow() -> None:
    estimate = ThroughputEstimator()
    serve(estimate, 2.0, windows=20, stood=True)
    serve(estimate, 0.0, windows=100, stood=True)
    assert (estimate.per_s or 0.0) > 1.0


def test_a_pause_is_forgotten_and_what_was_known_is_not() -> None:
    estimate = ThroughputEstimator()
    serve(estimate, 2.0, windows=20, stood=True)
    estimate.add(1e6)
    estimate.skip()
    serve(estimate, 2.0, windows=5, stood=False)
    assert estimate.per_s == pytest.approx(2.0)
