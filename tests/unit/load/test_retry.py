"""What is tried again, and who picks the tier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sluice.domain.enums import QueryClass, Tier
from sluice.load.mix import Ask
from sluice.load.policy import Chooser, Policy
from sluice.load.retry import RETRYABLE, Failure, RetryLaw
from sluice.load.text import Text

ASK = Ask(text=Text(text="hi"), query_class=QueryClass.REAL_TIME, priority=0.5, hot=False)
codes = some.sampled_from(["INVALID_ARGUMENT", "NOT_FOUND", "CANCELLED", *sorted(RETRYABLE)])
failures = some.builds(Failure, code=codes, retry_after_s=some.none() | some.floats(0, 10))
laws = some.builds(RetryLaw, retries=some.integers(0, 5), backoff_s=some.floats(0, 1), respect=some.booleans())


@given(failures, laws, some.integers(1, 10), some.floats(0, 1, exclude_max=True))
def test_no_more_is_tried_than_is_allowed_and_nothing_that_cannot_help(
    failure: Failure, law: RetryLaw, attempts: int, dice: float
) -> None:
    wait_s = law.wait_s(failure, attempts=attempts, dice=dice)
    if attempts > law.retries or failure.code not in RETRYABLE:
        assert wait_s is None
    elif law.respect and failure.code == "RESOURCE_EXHAUSTED":
        assert wait_s == failure.retry_after_s
    else:
        assert wait_s is not None
        assert 0 <= wait_s <= law.backoff_s * 2 ** (attempts - 1)


def test_a_refusal_without_a_time_is_final_for_who_respects_it_only() -> None:
    final = Failure(code="RESOURCE_EXHAUSTED")
    assert RetryLaw(retries=3).wait_s(final, attempts=1, dice=0.5) is None
    assert RetryLaw(retries=3, respect=False).wait_s(final, attempts=1, dice=0.5) is not None


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        (Policy(), (QueryClass.REAL_TIME, Tier.UNSPECIFIED)),
        (Policy(kind="full"), (QueryClass.COMPLEX, Tier.FULL)),
        (Policy(kind="light"), (QueryClass.SIMPLE, Tier.UNSPECIFIED)),
    ],
    ids=lambda one: one.kind if isinstance(one, Policy) else "",
)
def test_who_does_not_switch_always_asks_the_same(policy: Policy, asked: tuple[QueryClass, Tier]) -> None:
    chooser = Chooser(policy)
    for latency_ms in (1.0, 10_000.0):
        assert chooser.choose(ASK) == asked
        chooser.saw(latency_ms)


def test_a_switch_turns_when_it_is_slow_and_back_when_it_is_fast_again() -> None:
    chooser = Chooser(Policy(kind="switch", above_ms=100))
    assert chooser.choose(ASK)[1] is Tier.FULL
    for _ in range(200):
        chooser.saw(300.0)
    assert chooser.choose(ASK) == (QueryClass.SIMPLE, Tier.UNSPECIFIED)
    for _ in range(20):
        chooser.saw(80.0)
    assert chooser.choose(ASK)[1] is Tier.UNSPECIFIED, "between the two it stays"
    for _ in range(200):
        chooser.saw(10.0)
    assert chooser.choose(ASK)[1] is Tier.FULL
