"""The fixed policy: which variant answers a query class, whatever the load."""

from __future__ import annotations

import itertools

import pytest

from services.router.scheduling.scoring import fixed_order_pick
from sluice.domain.enums import QueryClass, Tier

IDS = {Tier.FULL: ("m/full",), Tier.LIGHT: ("m/light",), Tier.QUANTIZED: ("m/quantized",)}
ALL = frozenset(IDS)
CLASSES = (QueryClass.SIMPLE, QueryClass.COMPLEX, QueryClass.REAL_TIME)


def place(query_class: QueryClass, up: set[Tier], minimum: Tier = Tier.UNSPECIFIED) -> tuple[str, Tier] | None:
    serving = {tier: IDS[tier] for tier in up}
    return fixed_order_pick(query_class, minimum, serving=serving, offered=ALL, backlog=lambda name: 0)


@pytest.mark.parametrize(
    ("query_class", "tier"),
    [(QueryClass.SIMPLE, Tier.LIGHT), (QueryClass.COMPLEX, Tier.FULL), (QueryClass.REAL_TIME, Tier.QUANTIZED)],
)
def test_each_class_has_its_tier_and_is_then_not_degraded(query_class: QueryClass, tier: Tier) -> None:
    assert place(query_class, set(ALL)) == (IDS[tier][0], Tier.UNSPECIFIED)


def test_a_complex_request_falls_over_to_the_next_tier_and_says_so() -> None:
    assert place(QueryClass.COMPLEX, {Tier.LIGHT, Tier.QUANTIZED}) == ("m/light", Tier.FULL)
    assert place(QueryClass.COMPLEX, {Tier.QUANTIZED}) == ("m/quantized", Tier.FULL)


def test_a_better_tier_than_the_intended_one_is_no_degradation() -> None:
    assert place(QueryClass.REAL_TIME, {Tier.FULL}) == ("m/full", Tier.UNSPECIFIED)


def test_the_callers_minimum_is_never_undercut() -> None:
    for query_class, minimum in itertools.product(CLASSES, (Tier.QUANTIZED, Tier.LIGHT, Tier.FULL)):
        for up in itertools.chain.from_iterable(itertools.combinations(ALL, size) for size in range(4)):
            assignment = place(query_class, set(up), minimum)
            acceptable = [tier for tier in up if tier >= minimum]
            assert (assignment is None) == (not acceptable)
            if assignment:
                assert assignment[0] in {IDS[tier][0] for tier in acceptable}


def test_among_variants_of_a_tier_the_shortest_backlog_wins_and_ties_go_by_name() -> None:
    serving = {Tier.LIGHT: ("m/a", "m/b")}
    backlog = {"m/a": 3.0, "m/b": 1.0}
    for lengths, expected in ((backlog, "m/b"), ({"m/a": 1.0, "m/b": 1.0}, "m/a")):
        chosen = fixed_order_pick(
            QueryClass.SIMPLE,
            Tier.UNSPECIFIED,
            serving=serving,
            offered=frozenset({Tier.LIGHT}),
            backlog=lengths.__getitem__,
        )
        assert chosen is not None
        assert chosen[0] == expected
