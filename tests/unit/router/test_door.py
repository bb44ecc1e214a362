"""The door: what ends there, and what it leaves to others."""

from __future__ import annotations

import math

import pytest

from services.router.admission.controller import AdmissionController
from services.router.admission.demand import EdgeDemand
from services.router.admission.load_shedding import LoadShedder
from services.router.observability.stats import RequestStats
from services.router.requests.caller import ANONYMOUS
from sluice.domain.errors import Saturated


class House:
    """A door whose admission can be filled."""

    def __init__(self, *, max_requests: int = 10) -> None:
        self.draining = False
        self.ledger = RequestStats(clock=lambda: 0.0)
        self.admission = AdmissionController(max_requests=max_requests, max_bytes=10**6)
        self.door = LoadShedder(
            admission=self.admission,
            ledger=self.ledger,
            hot_from=0.7,
            draining=lambda: self.draining,
            clock=lambda: 0.0,
        )

    def fill(self, count: int) -> None:
        for _ in range(count):
            self.admission.admit(EdgeDemand(priority=0.9, hot=True), size=1, cost=1e-3, now=0.0)


def test_with_room_everybody_may_go_on_and_nothing_is_counted() -> None:
    house = House()
    assert house.door.refusal(priority=0.1, caller=ANONYMOUS) is None
    assert not house.ledger.outcomes
    assert house.admission.requests == 0


def test_a_refusal_is_counted_once_in_its_pool() -> None:
    house = House()
    house.fill(9)
    assert house.door.refusal(priority=0.1, caller=ANONYMOUS) is not None
    assert house.door.refusal(priority=0.9, caller=ANONYMOUS) is None
    house.fill(1)
    assert house.door.refusal(priority=0.9, caller=ANONYMOUS) is not None
    assert house.ledger.outcomes == {
        ("", "", "rejected-saturated", "cold"): 1,
        ("", "", "rejected-saturated", "hot"): 1,
    }


def test_texts_that_come_together_are_counted_each() -> None:
    house = House()
    house.fill(10)
    assert house.door.refusal(priority=0.1, caller=ANONYMOUS, texts=7) is not None
    assert house.ledger.outcomes["", "", "rejected-saturated", "cold"] == 7
    assert house.ledger.last_window().ended == 0
    house.admission.signals.roll([])
    assert house.admission.signals.refused_ratio == pytest.approx(7 / 17)


@pytest.mark.parametrize("priority", [math.nan, -0.1, 1.1, math.inf])
def test_a_priority_that_is_none_is_for_validation_to_refuse(priority: float) -> None:
    house = House()
    house.fill(10)
    assert house.door.refusal(priority=priority, caller=ANONYMOUS) is None
    with pytest.raises(Saturated):
        house.fill(1)


def test_a_router_that_drains_has_its_own_answer() -> None:
    house = House()
    house.fill(10)
    house.draining = True
    assert house.door.refusal(priority=0.1, caller=ANONYMOUS) is None


def test_what_nobody_can_read_has_an_outcome_too() -> None:
    house = House()
    house.door.unreadable("invalid-argument")
    assert house.ledger.outcomes == {("", "", "invalid-argument", "cold"): 1}
