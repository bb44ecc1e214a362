"""Who is let in of those on the boundary."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.admission.fair_share import HOUR_S, MAX_CALLERS, Bundle, FairShare, max_min_level, stable_hash_unit

BIN = 64


class Gate:
    """A fair share that lets in `share` of its bin, and what it did for whom."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.fair = FairShare()
        self.now = 7.0
        self.offered: dict[str, int] = {}
        self.let_in: dict[str, int] = {}

    def offer(self, client: str, cost: float = 1e-3, *, conversation: str = "", bundle: Bundle | None = None) -> bool:
        """One request. What becomes of a conversation is kept under `client/conversation`, and under `client` too."""
        verdict = self.fair.lets_in(BIN, client, self.now, conversation=conversation, bundle=bundle)
        assert verdict is self.fair.lets_in(BIN, client, self.now, conversation=conversation, bundle=bundle)
        self.fair.count(BIN, client, cost)
        self.fair.settle(BIN, client, let_in=verdict)
        for name in (client, f"{client}/{conversation}") if conversation else (client,):
            self.offered[name] = self.offered.get(name, 0) + 1
            self.let_in[name] = self.let_in.get(name, 0) + verdict
        return verdict

    def run(self, crowd: Callable[[], Iterator[str]], ticks: int) -> None:
        """Ticks of a tenth of a second, of which the first second is not counted."""
        for tick in range(ticks):
            if tick == 10:
                self.offered, self.let_in = {}, {}
            for client in crowd():
                name, _, conversation = client.partition("/")
                self.offer(name, conversation=conversation)
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
            yield "giant" if number < 200 else f"small {number}"

    gate = Gate(0.5)
    gate.run(crowd, 100)
    assert gate.ratio(lambda name: name != "giant") > 0.99
    assert gate.ratio(lambda name: name == "giant") == pytest.approx(0.375, abs=0.03)


@pytest.mark.parametrize("name", ["", "the only one"])
def test_a_single_client_gets_just_the_share(name: str) -> None:
    gate = Gate(0.3)
    gate.run(lambda: iter([name] * 40), 50)
    assert gate.ratio() == pytest.approx(0.3, abs=0.02)


def test_alike_clients_are_cut_alike() -> None:
    gate = Gate(0.6)
    gate.run(lambda: iter([f"p{number}" for number in range(5) for _ in range(20)]), 50)
    assert all(gate.let_in[name] / gate.offered[name] == pytest.approx(0.6, abs=0.05) for name in gate.offered)


def test_callers_with_little_to_ask_share_what_there_is_instead_of_some_having_nothing() -> None:
    gate = Gate(0.5)
    gate.run(lambda: iter([f"p{number}" for number in range(20)]), 200)
    assert all(0.3 < gate.let_in[name] / gate.offered[name] < 0.7 for name in gate.offered)


def test_a_conversation_is_let_in_or_refused_whole() -> None:
    dice = random.Random(2)
    gate = Gate(0.5)
    gate.run(lambda: iter([f"p/c{dice.randrange(1_000)}" for _ in range(50)]), 300)
    shares = [gate.let_in[name] / gate.offered[name] for name in gate.offered if "/" in name]
    whole = [share for share in shares if share in (0.0, 1.0)]
    assert len(whole) > 0.95 * len(shares)
    assert gate.ratio(lambda name: name == "p") == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("names", [1, 2, 7, 10**9], ids=["one", "two", "few", "always another"])
def test_conversations_earn_their_caller_nothing_however_many_they_are(names: int) -> None:
    dice = random.Random(names)
    gate = Gate(0.5)
    # The polite caller offers little; the flood's share of the room is what is left, whatever names it makes up.
    gate.run(lambda: iter(["polite", *(f"flood/c{dice.randrange(names)}" for _ in range(50))]), 200)
    assert gate.ratio(lambda name: name == "polite") > 0.99
    assert gate.ratio(lambda name: name == "flood") == pytest.approx(0.49, abs=0.03)


def test_next_hour_it_is_somebody_elses_turn() -> None:
    names = [f"c{number}" for number in range(1_000)]
    gate = Gate(0.5)
    gate.run(lambda: iter(f"p/{name}" for name in names), 12)
    now = {name for name in names if gate.fair.lets_in(BIN, "p", 0.0, conversation=name)}
    later = {name for name in names if gate.fair.lets_in(BIN, "p", HOUR_S, conversation=name)}
    assert now
    assert later
    assert now != later


def test_texts_that_come_together_are_let_in_together_however_many() -> None:
    gate = Gate(0.5)
    gate.run(lambda: iter(["p"] * 40), 12)
    fates = []
    for _ in range(200):
        bundle = Bundle()
        verdicts = {gate.offer("p", bundle=bundle) for _ in range(64)}
        assert len(verdicts) == 1
        fates.extend(verdicts)
        gate.now += 0.1
        gate.fair.roll(0.1, boundary=BIN, share=0.5)
    # And they are charged one by one: bundles are no way to a larger share.
    assert sum(fates) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_first_requests_of_strangers_are_let_in_as_often_as_the_share_says(share: float) -> None:
    gate = Gate(share)
    fresh = iter(range(10**9))
    gate.run(lambda: iter([f"stranger {next(fresh)}" for _ in range(100)]), 60)
    assert gate.ratio() == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.75])
def test_the_first_request_of_a_generation_goes_on_where_the_one_before_it_ended(share: float) -> None:
    gate = Gate(share)
    gate.run(lambda: iter(["other"] * 20), 12)
    count = 0
    for number in range(1, 201):
        # One request in each generation of half a second: what it is owed is carried over, so that none is lost.
        count += gate.offer("rare", cost=20e-3 * 5)
        for _ in range(5):
            for _ in range(20):
                gate.offer("other")
            gate.now += 0.1
            gate.fair.roll(0.1, boundary=BIN, share=share)
        expected = gate.offered["rare"] * gate.fair._portion(BIN, "rare")
        if number > 2:
            assert abs(count - expected) <= 2


def test_a_newcomer_beside_a_flood_is_let_in_at_once() -> None:
    gate = Gate(0.2)
    gate.run(lambda: iter(["flood"] * 50), 20)
    assert gate.offer("newcomer")


def test_memory_does_not_grow_with_names_and_those_beyond_it_get_the_share() -> None:
    gate = Gate(0.5)
    fresh = iter(range(10**9))
    gate.run(lambda: iter([f"c{next(fresh)}" for _ in range(3_000)]), 30)
    assert len(gate.fair._now) + len(gate.fair._before) <= 2 * (MAX_CALLERS + 1)
    assert gate.ratio() == pytest.approx(0.5, abs=0.05)


def test_other_bins_do_not_count() -> None:
    gate = Gate(0.5)
    for _ in range(1_000):
        gate.fair.count(3, "giant", 1.0)
    gate.run(lambda: iter(["giant"] * 10 + ["other"] * 10), 40)
    ratios = [gate.ratio(lambda name, who=who: name == who) for who in ("giant", "other")]  # type: ignore[misc]
    assert ratios == [pytest.approx(0.5, abs=0.05)] * 2


def test_an_expensive_client_is_a_large_one() -> None:
    gate = Gate(0.5)
    for tick in range(100):
        if tick == 10:
            gate.offered, gate.let_in = {}, {}
        for _ in range(10):
            gate.offer("dear", cost=9e-3)
            gate.offer("cheap", cost=1e-3)
        gate.now += 0.1
        gate.fair.roll(0.1, boundary=BIN, share=0.5)
    assert gate.ratio(lambda name: name == "cheap") > 0.99
    assert gate.ratio(lambda name: name == "dear") == pytest.approx(4 / 9, abs=0.03)


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(1, 50)), min_size=1, max_size=30), st.floats(0, 1))
def test_water_finds_the_level_at_which_it_fills_the_room(offers: list[tuple[float, int]], share: float) -> None:
    level = max_min_level(offers, share)
    filled = sum(min(amount, level) * times for amount, times in offers)
    assert level >= 0.0
    assert filled == pytest.approx(share * sum(amount * times for amount, times in offers))


def test_coins_fall_evenly() -> None:
    falls = sorted(stable_hash_unit(f"conversation-{number}|3") for number in range(10_000))
    assert all(abs(fall - place / 10_000) < 0.03 for place, fall in enumerate(falls))
