"""What is believed of a member's reports, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.control.degradation.report import Report
from sluice.control.degradation.report_validation import FROZEN_AFTER_S, ReportValidator, ValidatedReport, validated
from sluice.domain.enums import MemberKind

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GPU, ROUTER = MemberKind.GPU_WORKER, MemberKind.ROUTER
FRESH_S = 1.0
NAN, INFINITE = float("nan"), float("inf")


def report(after_s: float = 0.0, **more: Any) -> Report:
    return Report(measured_at=NOON + timedelta(seconds=after_s), **more)


def known(witness: ReportValidator, now: float) -> ValidatedReport:
    reading = witness.reading(now)
    assert reading is not None
    return reading


RATIOS = (
    "utilization",
    "memory",
    "deadline_miss_ratio",
    "refused_ratio",
    "offloaded_utilization",
    "queue_delay_s",
    "standing_queue_delay_s",
    "median_timeout_s",
)


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE, -0.01, 1e9])
@pytest.mark.parametrize("field", RATIOS)
def test_what_cannot_be_is_unknown_and_counted(field: str, value: float) -> None:
    reading = validated(ROUTER, replace(report(hot_queued=1), **{field: value}))
    assert getattr(reading, field) is None
    assert reading.doubted == (field.removesuffix("_s"),)


def test_rounding_is_no_lie() -> None:
    reading = validated(GPU, report(utilization=1.0000000001))
    assert (reading.utilization, reading.doubted) == (1.0, ())


def test_a_rate_or_a_reload_that_cannot_be_counts_as_nothing() -> None:
    reading = validated(GPU, report(requests_per_second=NAN, full_reload_ratio=-1.0))
    assert (reading.rate, reading.full_reload_ratio) == (0.0, 0.0)
    assert reading.doubted == ("requests_per_second", "full_reload_ratio")


def test_an_empty_queue_delays_nobody_and_an_idle_router_refuses_nobody() -> None:
    idle = validated(ROUTER, report())
    assert (idle.queue_delay_s, idle.standing_queue_delay_s, idle.refused_ratio) == (0.0, 0.0, 0.0)
    assert idle.deadline_miss_ratio is None
    busy = validated(ROUTER, report(inflight=3, requests_per_second=5.0, queue_delay_s=0.2))
    assert (busy.queue_delay_s, busy.standing_queue_delay_s, busy.refused_ratio) == (0.2, 0.0, None)
    stuck = validated(ROUTER, report(cold_queued=3))
    assert (stuck.queue_delay_s, stuck.standing_queue_delay_s, stuck.refused_ratio) == (None, None, None)


@given(
    st.sampled_from(MemberKind),
    st.fixed_dictionaries({}, optional={name: st.floats() for name in (*RATIOS, "full_reload_ratio")}),
    st.floats(),
    st.integers(0, 9),
)
def test_what_is_believed_lies_in_its_range_whatever_is_said(
    kind: MemberKind, values: dict[str, float], rate: float, queued: int
) -> None:
    reading = validated(kind, report(cold_queued=queued, requests_per_second=rate, **values))
    for name in ("utilization", "memory", "deadline_miss_ratio", "refused_ratio", "full_reload_ratio"):
        value = getattr(reading, name)
        assert value is None or 0.0 <= value <= 1.0
    for name in ("queue_delay_s", "standing_queue_delay_s", "median_timeout_s", "offloaded_utilization", "rate"):
        value = getattr(reading, name)
        assert value is None or 0.0 <= value < INFINITE


def test_who_has_not_been_heard_lately_is_unknown() -> None:
    witness = ReportValidator(GPU, fresh_s=FRESH_S)
    assert witness.reading(5.0) is None
    witness.hear(report(utilization=0.5), 10.0)
    assert known(witness, 11.0).utilization == 0.5
    assert witness.reading(11.1) is None


def test_a_clock_that_jumps_makes_nothing_fresh() -> None:
    witness = ReportValidator(GPU, fresh_s=FRESH_S)
    witness.hear(report(utilization=0.5), 10_000.0)
    assert witness.reading(3.0) is None
    assert witness.reading(20_000.0) is None
    witness.hear(report(1, utilization=0.6), 3.0)
    assert known(witness, 3.1).utilization == 0.6


def test_a_report_that_is_sent_again_is_as_old_as_it_was() -> None:
    witness = ReportValidator(GPU, fresh_s=FRESH_S)
    for tick in range(20):
        witness.hear(report(utilization=0.5), tick / 10)
    assert witness.reading(1.9) is None


def fed(witness: ReportValidator, *, seconds: float, rates: tuple[float, ...] = (10.0, 11.0), **values: Any) -> float:
    """Report every tenth of a second; returns the last instant."""
    now = 0.0
    for tick in range(int(seconds * 10)):
        now = tick / 10
        witness.hear(report(now, requests_per_second=rates[tick % len(rates)], **values), now)
    return now


def test_a_busy_share_that_never_changes_while_the_load_does_is_unknown() -> None:
    witness = ReportValidator(GPU, fresh_s=FRESH_S)
    now = fed(witness, seconds=FROZEN_AFTER_S - 1, utilization=0.5, memory=0.5)
    assert known(witness, now).utilization == 0.5
    now = fed(witness, seconds=FROZEN_AFTER_S + 1, utilization=0.5, memory=0.5)
    assert (known(witness, now).utilization, known(witness, now).memory) == (None, 0.5)
    assert witness.doubts == ("utilization",)
    assert witness.doubted > 0
    witness.hear(report(now + 1, utilization=0.51), now)
    assert known(witness, now).utilization == 0.51


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_idle_and_saturated_may_last(value: float) -> None:
    witness = ReportValidator(GPU, fresh_s=FRESH_S)
    assert known(witness, fed(witness, seconds=2 * FROZEN_AFTER_S, utilization=value)).utilization == value


def test_the_same_load_may_give_the_same_value() -> None:
    witness = ReportValidator(GPU, fresh_s=FRESH_S)
    now = fed(witness, seconds=2 * FROZEN_AFTER_S, rates=(10.0,), utilization=0.5)
    assert known(witness, now).utilization == 0.5


def test_a_frozen_delay_is_unknown_too() -> None:
    witness = ReportValidator(ROUTER, fresh_s=FRESH_S)
    now = fed(witness, seconds=FROZEN_AFTER_S + 1, queue_delay_s=0.01, hot_queued=1)
    assert known(witness, now).queue_delay_s is None
    assert witness.doubts == ("queue_delay",)
