"""Members' readings become the fleet's signals; who is unknown adds nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sluice.control.degradation.aggregation import Heard, aggregate
from sluice.control.degradation.report import Report
from sluice.control.degradation.report_validation import validated
from sluice.control.degradation.signals import UNKNOWN
from sluice.domain.enums import MemberKind
from tests.unit import strategies as some

ROUTER, GPU, CPU = MemberKind.ROUTER, MemberKind.GPU_WORKER, MemberKind.CPU_WORKER


def heard(kind: MemberKind, **values: Any) -> Heard:
    return kind, validated(kind, Report(measured_at=datetime(2026, 1, 1, tzinfo=UTC), **values))


def test_of_nobody_nothing_is_known() -> None:
    assert aggregate([]) == aggregate([(GPU, None), (ROUTER, None), (CPU, None)]) == UNKNOWN


def test_devices_of_each_kind_are_told_apart() -> None:
    signals = aggregate([
        heard(GPU, utilization=0.9, memory=0.5),
        heard(GPU, utilization=0.5, memory=0.7),
        heard(CPU, utilization=0.2, memory=0.9),
    ])  # fmt: skip
    assert (signals.utilization, signals.utilization_max, signals.cpu_utilization) == (0.7, 0.9, 0.2)
    assert (signals.memory, signals.cpu_memory, signals.memory_anywhere) == (0.7, 0.9, 0.9)


def test_who_is_unknown_or_drains_has_no_capacity() -> None:
    members = [heard(GPU, utilization=0.9), (GPU, None), heard(GPU, utilization=0.1, draining=True)]
    assert aggregate(members).utilization == 0.9


def test_the_full_models_would_come_back_where_they_were() -> None:
    # The fullest worker has released nothing; another one has, and would then be the fullest.
    signals = aggregate([heard(GPU, memory=0.7), heard(GPU, memory=0.5, full_reload_ratio=0.3)])
    assert signals.memory == 0.7
    assert round(signals.full_reload_ratio, 6) == 0.1
    assert aggregate([heard(GPU, memory=0.7), heard(GPU, memory=0.3, full_reload_ratio=0.2)]).full_reload_ratio == 0.0


def test_the_router_whose_callers_wait_too_long_by_their_own_measure_speaks_for_all() -> None:
    patient = heard(ROUTER, queue_delay_s=0.5, median_timeout_s=10.0, hot_queued=1)
    hurried = heard(ROUTER, queue_delay_s=0.3, standing_queue_delay_s=0.2, median_timeout_s=1.0, hot_queued=1)
    signals = aggregate([patient, hurried])
    assert (signals.queue_delay_s, signals.standing_queue_delay_s, signals.median_timeout_s) == (0.3, 0.2, 1.0)


def test_shares_of_requests_are_weighted_by_requests() -> None:
    busy = heard(ROUTER, deadline_miss_ratio=0.0, refused_ratio=0.1, requests_per_second=99.0)
    idle = heard(ROUTER, deadline_miss_ratio=1.0, refused_ratio=0.0, requests_per_second=1.0)
    signals = aggregate([busy, idle])
    assert signals.deadline_miss_ratio == 0.01
    assert signals.refused_ratio is not None
    assert round(signals.refused_ratio, 6) == 0.099


def test_what_was_diverted_is_known_only_if_every_router_tells() -> None:
    one, other = heard(ROUTER, offloaded_utilization=0.2), heard(ROUTER, offloaded_utilization=0.1)
    both = aggregate([one, other]).offloaded_utilization
    assert both is not None
    assert round(both, 6) == 0.3
    assert aggregate([one, (ROUTER, None)]).offloaded_utilization is None
    assert aggregate([one, heard(ROUTER)]).offloaded_utilization is None


@given(st.lists(st.tuples(some.reports, st.sampled_from(MemberKind)), max_size=5), st.randoms())
def test_the_order_of_members_does_not_matter_and_ratios_stay_ratios(members: list[Any], dice: Any) -> None:
    readings: list[Heard] = [(kind, validated(kind, report)) for report, kind in members]
    shuffled = list(readings)
    dice.shuffle(shuffled)
    signals, other = aggregate(readings), aggregate(shuffled)
    for name in ("utilization", "cpu_utilization", "memory", "deadline_miss_ratio", "refused_ratio"):
        value, again = getattr(signals, name), getattr(other, name)
        assert (value is None) == (again is None)
        if value is not None:
            assert 0.0 <= value <= 1.0
            assert abs(value - again) < 1e-9
    assert 0.0 <= signals.full_reload_ratio <= 2.0
