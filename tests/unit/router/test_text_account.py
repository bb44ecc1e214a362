"""How texts share a device, and what one costs."""

from __future__ import annotations

import random

import pytest

from services.router.requests.generation import PendingGeneration
from services.router.requests.request import Request
from services.router.requests.sampling_params import SamplingParams
from services.router.workers.generation_usage import UNKNOWN_COST_S, GenerationCostModel, GenerationUsage


def ticket(number: int) -> PendingGeneration:
    request = Request(model="m", text="once upon", deadline=100.0)
    return PendingGeneration(number, request, SamplingParams(), hot=False, now=0.0)


def sent(account: GenerationUsage, number: int) -> PendingGeneration:
    one = ticket(number)
    account.send(one)
    return one


def test_a_lone_text_takes_the_whole_device_and_two_share_it() -> None:
    account = GenerationUsage()
    account.credits = 2
    one, two = sent(account, 1), sent(account, 2)
    assert (account.credits, account.waiting_for_kv) == (0, 2)
    account.begin(one, 10.0)
    assert account.waiting_for_kv == 1
    account.begin(two, 12.0)
    assert account.end(one, 16.0) == pytest.approx(2.0 + 2.0)
    assert account.end(two, 17.0) == pytest.approx(2.0 + 1.0)
    assert account.served_s(30.0) == pytest.approx(7.0)
    assert account.served_s(31.0) == 0.0
    assert account.open == {}


def test_what_texts_took_is_what_the_device_gave() -> None:
    dice, account, now = random.Random(7), GenerationUsage(), 0.0
    writing: list[PendingGeneration] = []
    taken = served = 0.0
    for number in range(500):
        now += dice.random()
        if writing and dice.random() < 0.5:
            taken += account.end(writing.pop(dice.randrange(len(writing))), now)
        else:
            writing.append(sent(account, number))
            account.begin(writing[-1], now)
        if dice.random() < 0.1:
            served += account.served_s(now)
    for one in writing:
        taken += account.end(one, now)
    assert served + account.served_s(now) == pytest.approx(taken)


def test_a_worker_that_is_lost_leaves_nothing_behind() -> None:
    account = GenerationUsage()
    account.credits = 5
    one, two = sent(account, 1), sent(account, 2)
    account.begin(one, 1.0)
    assert account.void() == [one, two]
    assert (account.credits, account.open, account.waiting_for_kv, account.variants) == (0, {}, 0, {})
    account.credits = 1
    again = sent(account, 2)
    assert again.begun_at is None
    account.begin(again, 5.0)
    assert account.end(again, 6.0) == pytest.approx(1.0)


def test_a_cost_is_learnt_when_others_had_to_wait_and_else_only_falls() -> None:
    costs = GenerationCostModel()
    assert costs.expected_s("m", 100) == UNKNOWN_COST_S
    # Alone on the device: as dear as hundreds together, and no measure of what one more costs.
    costs.learn("m", tokens=100, device_s=1.0, contended=False)
    assert costs.expected_s("m", 100) == UNKNOWN_COST_S
    costs.learn("m", tokens=100, device_s=0.1, contended=True)
    assert costs.expected_s("m", 50) == pytest.approx(0.05)
    assert costs.expected_s("m", 10_000) == pytest.approx(0.1)
    costs.learn("m", tokens=100, device_s=1.0, contended=False)
    assert costs.expected_s("m", 100) == pytest.approx(0.1)
    costs.learn("m", tokens=100, device_s=0.01, contended=False)
    lower = costs.expected_s("m", 100)
    assert lower < 0.1
    costs.learn("m", tokens=100, device_s=1.0, contended=True)
    assert costs.expected_s("m", 100) > lower
    assert costs.expected_s("other", 100) == UNKNOWN_COST_S


@pytest.mark.parametrize(("tokens", "device_s"), [(0, 1.0), (5, 0.0)])
def test_what_was_not_written_teaches_nothing(tokens: int, device_s: float) -> None:
    costs = GenerationCostModel()
    costs.learn("m", tokens=tokens, device_s=device_s, contended=True)
    assert costs.expected_s("m", 100) == UNKNOWN_COST_S
