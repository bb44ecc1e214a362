"""When a decision stands for the next request like it."""

from __future__ import annotations

from dataclasses import replace

from services.router.requests.device_pool import DevicePool
from services.router.scheduling.decision_cache import MOST_USES, DecisionCache
from services.router.scheduling.scoring import Assignment, SchedulingRequest
from sluice.domain.enums import QueryClass, Tier
from tests.unit.router.offers import option

ASK = SchedulingRequest(
    query_class=QueryClass.UNSPECIFIED,
    minimum_tier=Tier.UNSPECIFIED,
    priority=0.5,
    hot=False,
    slack_s=1.0,
    bucket=3,
    tokens=20,
    hope=2.0,
)
KEY = ("m", 0.5)
LIGHT = Assignment(variant_id="m/light", degraded_from=Tier.UNSPECIFIED, pool=DevicePool.CPU, token_s=1e-6)


def noted(
    asked: SchedulingRequest, *expected_s: float, assignment: Assignment = LIGHT, chance: float = 1.0
) -> DecisionCache:
    precedents = DecisionCache()
    options = [option(Tier.LIGHT, chance, expected_s=one) for one in expected_s]
    precedents.note(KEY, assignment, asked, options)
    return precedents


def uses(precedents: DecisionCache) -> int:
    count = 0
    while precedents.find(KEY) is not None:
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


def test_a_precedent_is_for_those_alike_and_no_others() -> None:
    precedents = noted(ASK, 0.01)
    assert precedents.find(("other",)) is None
    assert precedents.find(KEY) == LIGHT


def test_with_another_outlook_nothing_stands() -> None:
    precedents = noted(ASK, 0.01)
    precedents.forget()
    assert uses(precedents) == 0
