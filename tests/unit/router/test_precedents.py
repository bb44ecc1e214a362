"""When a decision stands for the next request like it."""

from __future__ import annotations

from dataclasses import replace

from services.router.assignment import Ask, Assignment
from services.router.pools import Pool
from services.router.precedents import MOST_USES, Precedents
from sluice.tier import QueryClass, Tier
from tests.unit.router.offers import option

ASK = Ask(
    query_class=QueryClass.UNSPECIFIED,
    minimum_tier=Tier.UNSPECIFIED,
    priority=0.5,
    hot=False,
    slack_s=1.0,
    bucket=3,
    tokens=20,
    hope=2.0,
)
LIGHT = Assignment(variant_id="m/light", degraded_from=Tier.UNSPECIFIED, pool=Pool.CPU, token_s=1e-6)


def noted(asked: Ask, *expected_s: float, assignment: Assignment = LIGHT, chance: float = 1.0) -> Precedents:
    precedents = Precedents()
    options = [option(Tier.LIGHT, chance, expected_s=one) for one in expected_s]
    precedents.note(asked.key("m"), assignment, asked, options)
    return precedents


def uses(precedents: Precedents, asked: Ask = ASK) -> int:
    count = 0
    while precedents.find(asked.key("m")) is not None:
        count += 1
    return count


def test_an_unhurried_decision_stands_for_a_number_of_requests_like_it() -> None:
    assert uses(noted(ASK, 0.01, 0.2)) == MOST_USES


def test_work_that_would_make_the_next_late_stands_for_few() -> None:
    dear = replace(LIGHT, token_s=0.01 / ASK.tokens)
    assert uses(noted(ASK, 0.01, assignment=dear)) == 10
    assert uses(noted(ASK, 0.01, assignment=replace(LIGHT, token_s=1.0))) == 0


def test_whoever_is_in_a_hurry_sets_no_precedent() -> None:
    assert uses(noted(ASK, 0.01, 0.3)) == 0
    assert uses(noted(ASK, 0.01, chance=0.99)) == 0


def test_a_precedent_is_for_those_alike_in_everything_that_matters() -> None:
    precedents = noted(ASK, 0.01)
    unlike = [
        replace(ASK, query_class=QueryClass.COMPLEX),
        replace(ASK, minimum_tier=Tier.FULL),
        replace(ASK, priority=0.6),
        replace(ASK, hot=True),
        replace(ASK, bucket=4),
        replace(ASK, slack_s=0.4),
        replace(ASK, hope=0.0),
        replace(ASK, diverted=True),
        replace(ASK, lightened=True),
    ]
    assert all(precedents.find(one.key("m")) is None for one in unlike)
    assert precedents.find(ASK.key("other")) is None
    assert precedents.find(replace(ASK, slack_s=1.9, tokens=21).key("m")) == replace(LIGHT)


def test_with_another_outlook_nothing_stands() -> None:
    precedents = noted(ASK, 0.01)
    precedents.forget()
    assert uses(precedents) == 0
