"""Who is let in of those on the boundary."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.fair_share import FEW, HOUR_S, MOST_CLIENTS, Bundle, FairShare, Peer, coin, water_level

BIN = 64


class Gate:
    """A fair share that lets in `share` of its bin, and what it did for whom."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.fair = FairShare()
        self.now = 7.0
        self.offered: dict[str, int] = {}
        self.let_in: dict[str, int] = {}

    def offer(self, client: str, cost: float = 1e-3) -> bool:
        """One request."""
        verdict = self.fair.lets_in(BIN, client, self.now)
        assert verdict is self.fair.lets_in(BIN, client, self.now)
        self.fair.count(BIN, client, cost)
        self.fair.settle(BIN, client, let_in=verdict)
        self.offered[client] = self.offered.get(client, 0) + 1
        self.let_in[client] = self.let_in.get(client, 0) + verdict
        return verdict

    def run(self, crowd: Callable[[], Iterator[str]], ticks: int) -> None:
        """Ticks of a tenth of a second, of which the first second is not counted."""
        for tick in range(ticks):
            if tick == 10:
                self.offered, self.let_in = {}, {}
            for client in crowd():
                self.offer(client)
            self.now += 0.1
            self.fair.roll(0.1, boundary=BIN, share=self.share)

    def ratio(self, belongs: Callable[[str], bool] = lambda name: True) -> float:
        """The share of requests let in, of clients whose name `belongs`."""
        names = [name for name in self.offered if belongs(name)]
        return sum(self.let_in[name] for name in names) / sum(self.offered[name] for name in names)


def test_a_giant_is_refused_before_the_many_small_are() -> None:
    dice = random.Random(1)

    def crowd() -> Iterator[str]:
        for number in dice.sample(range(250), 250):
            yield Peer("giant") if number < 200 else Peer(f"small {number}")

    gate = Gate(0.5)
    gate.run(crowd, 100)
    assert gate.ratio(lambda name: name != "giant") > 0.99
    assert gate.ratio(lambda name: name == "giant") == pytest.approx(0.375, abs=0.03)


@pytest.mark.parametrize("name", ["", "the only one"])
def test_a_single_client_gets_just_the_share(name: str) -> None:
    for client in (name, Peer(name)):
        gate = Gate(0.3)
        gate.run(lambda client=client: iter([client] * 40), 50)  # type: ignore[misc]
        assert gate.ratio() == pytest.approx(0.3, abs=0.02)


def test_alike_clients_are_cut_alike() -> None:
    gate = Gate(0.6)
    gate.run(lambda: iter([Peer(f"p{number}") for number in range(5) for _ in range(20)]), 50)
    assert all(gate.let_in[name] / gate.offered[name] == pytest.approx(0.6, abs=0.05) for name in gate.offered)


def test_callers_with_little_to_ask_share_what_there_is_instead_of_some_having_nothing() -> None:
    gate = Gate(0.5)
    gate.run(lambda: iter([Peer(f"p{number}") for number in range(20)]), 200)
    assert all(0.3 < gate.let_in[name] / gate.offered[name] < 0.7 for name in gate.offered)


def test_a_conversation_is_let_in_or_refused_whole() -> None:
    dice = random.Random(2)
    gate = Gate(0.5)
    gate.run(lambda: iter([f"c{dice.randrange(1_000)}" for _ in range(50)]), 300)
    shares = [gate.let_in[name] / gate.offered[name] for name in gate.offered]
    whole = [share for share in shares if share in (0.0, 1.0)]
    assert len(whole) > 0.95 * len(shares)
    assert gate.ratio() == pytest.approx(0.5, abs=0.05)


def test_next_hour_it_is_somebody_elses_turn() -> None:
    names = [f"c{number}" for number in range(1_000)]
    gate = Gate(0.5)
    gate.run(lambda: iter(names), 12)
    now = {name for name in names if gate.fair.lets_in(BIN, name, 0.0)}
    later = {name for name in names if gate.fair.lets_in(BIN, name, HOUR_S)}
    assert now
    assert later
    assert now != later


def test_texts_that_come_together_are_let_in_together_however_many() -> None:
    gate = Gate(0.5)
    gate.run(lambda: iter([Peer("p")] * 40), 12)
    fates = set()
    for number in range(50):
        bundle = Bundle(f"b{number}")
        verdicts = {gate.offer(bundle) for _ in range(4 * FEW)}
        assert len(verdicts) == 1
        fates |= verdicts
    assert fates == {True, False}


def test_memory_does_not_grow_with_names_and_those_beyond_it_get_the_share() -> None:
    gate = Gate(0.5)
    fresh = iter(range(10**9))
    gate.run(lambda: iter([f"c{next(fresh)}" for _ in range(3_000)]), 30)
    assert len(gate.fair._now) + len(gate.fair._before) <= 2 * (MOST_CLIENTS + 1)
    assert gate.ratio() == pytest.approx(0.5, abs=0.05)


def test_other_bins_do_not_count() -> None:
    gate = Gate(0.5)
    for _ in range(1_000):
        gate.fair.count(3, Peer("giant"), 1.0)
    gate.run(lambda: iter([Peer("giant")] * 10 + [Peer("other")] * 10), 40)
    ratios = [gate.ratio(lambda name, who=who: name == who) for who in ("giant", "other")]  # type: ignore[misc]
    assert ratios == [pytest.approx(0.5, abs=0.05)] * 2


def test_an_expensive_client_is_a_large_one() -> None:
    gate = Gate(0.5)
    for tick in range(100):
        if tick == 10:
            gate.offered, gate.let_in = {}, {}
        for _ in range(10):
            gate.offer(Peer("dear"), cost=9e-3)
            gate.offer(Peer("cheap"), cost=1e-3)
        gate.now += 0.1
        gate.fair.roll(0.1, boundary=BIN, share=0.5)
    assert gate.ratio(lambda name: name == "cheap") > 0.99
    assert gate.ratio(lambda name: name == "dear") == pytest.approx(4 / 9, abs=0.03)


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(1, 50)), min_size=1, max_size=30), st.floats(0, 1))
def test_water_finds_the_level_at_which_it_fills_the_room(offers: list[tuple[float, int]], share: float) -> None:
    level = water_level(offers, share)
    filled = sum(min(amount, level) * times for amount, times in offers)
    assert level >= 0.0
    assert filled == pytest.approx(share * sum(amount * times for amount, times in offers))


def test_coins_fall_evenly() -> None:
    falls = sorted(coin(f"conversation-{number}|3") for number in range(10_000))
    assert all(abs(fall - place / 10_000) < 0.03 for place, fall in enumerate(falls))
