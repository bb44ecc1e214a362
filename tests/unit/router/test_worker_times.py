"""What is known of one worker's times."""

from __future__ import annotations

import pytest

from services.router.workers.latency_model import COMPARABLE, FIRST_OVERHEAD_S, WorkerLatencyModel, remaining_s
from sluice.domain.enums import Tier
from tests.unit.router.offers import Bench, variant

LIGHT = variant(Tier.LIGHT)
GUESSED = variant(Tier.QUANTIZED, token_s=0)


def times() -> WorkerLatencyModel:
    made = WorkerLatencyModel()
    made.describe([LIGHT, GUESSED])
    return made


def learn(
    known: WorkerLatencyModel, seconds: float, *, name: str = LIGHT.id, elapsed_s: float = 0.0, count: int = 100
) -> None:
    for step in range(count):
        elapsed = elapsed_s or seconds
        known.learn(name, tokens=100, compute_s=seconds, elapsed_s=elapsed, now=step * 0.1)


def test_results_correct_the_profile() -> None:
    known = times()
    said_s = known.batch_s(LIGHT.id, 100, 0.0)
    learn(known, 2 * said_s)
    assert known.batch_s(LIGHT.id, 100, 10.0) == pytest.approx(2 * said_s, rel=0.05)


def test_the_way_there_is_what_a_batch_took_beyond_the_device() -> None:
    known = times()
    assert known.overhead_s(0.0) == FIRST_OVERHEAD_S
    learn(known, 0.01, elapsed_s=0.05)
    assert known.overhead_s(10.0) == pytest.approx(0.04, rel=0.05)


def test_one_batch_that_hung_does_not_scare_work_away_for_ever() -> None:
    known = times()
    learn(known, 0.01, elapsed_s=0.011)
    known.learn(LIGHT.id, tokens=100, compute_s=0.01, elapsed_s=60.0, now=70.0)
    assert known.overhead_s(70.0) < 0.1
    assert known.overhead_s(130.0) == pytest.approx(FIRST_OVERHEAD_S, rel=0.1)


def test_a_card_that_comes_again_costs_nothing_that_was_learnt_and_a_new_profile_does() -> None:
    known = times()
    learn(known, 1.0, count=3)
    learnt_s = known.batch_s(LIGHT.id, 100, 0.2)
    known.describe([LIGHT])
    assert known.batch_s(LIGHT.id, 100, 0.2) == learnt_s
    known.describe([variant(Tier.LIGHT, token_s=5e-5)])
    assert not known.has_evidence(LIGHT.id, 1)


def test_a_profile_is_knowledge_and_only_a_result_is_evidence() -> None:
    known = times()
    assert (known.is_known(LIGHT.id), known.has_evidence(LIGHT.id, 1)) == (True, False)
    assert (known.is_known(GUESSED.id), known.has_evidence(GUESSED.id, 100)) == (False, False)
    assert known.efficient_batch_tokens(GUESSED.id, 20, 128, 0.0) == 0
    learn(known, 0.01, name=GUESSED.id, count=1)
    assert (known.is_known(GUESSED.id), known.has_evidence(GUESSED.id, 100)) == (True, True)
    assert known.efficient_batch_tokens(LIGHT.id, 20, 128, 0.0) > 0
    assert not known.has_evidence(GUESSED.id, 100 * COMPARABLE + 1)
    assert not known.has_evidence("never described", 1)


def test_results_of_what_was_never_described_are_ignored() -> None:
    known = times()
    known.learn("gone", tokens=10, compute_s=1.0, elapsed_s=1.0, now=0.0)
    assert known.overhead_s(0.0) == FIRST_OVERHEAD_S


def test_batches_are_done_one_after_the_other() -> None:
    bench = Bench(LIGHT)
    for tokens in (100, 200):
        bench.works_on(LIGHT.id, tokens, begun_at=10.0)
    first_s, second_s = (bench.times.batch_s(LIGHT.id, tokens, 10.0) for tokens in (100, 200))

    def left_s(now: float) -> float:
        return remaining_s(bench.times, bench.open.values(), begun_at=10.0, stuck=False, now=now)

    assert left_s(10.0) == pytest.approx(first_s + second_s)
    assert left_s(10.0 + first_s / 2) == pytest.approx(first_s / 2 + second_s)
    assert left_s(14.0) == pytest.approx(1.0 + second_s)
