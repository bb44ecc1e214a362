"""The little bars of `sluice top`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some
from rich.console import Console

from sluice.cli.top_trends import BARS, READINGS, Trends, goodput, sparkline
from sluice.control.degradation.report import Report
from sluice.control.degradation.signals import Signals
from sluice.control.directive import Directive
from sluice.control.fleet import Fleet, Member
from sluice.domain.enums import Level, MemberKind


def fleet(*, levels: tuple[Level, ...] = (), rate: float = 100.0, **signals: float) -> Fleet:
    """A router that has `rate` requests a second, of which signals say more; and a worker that has none."""
    told = {name: signals.get(name) for name in ("refused_ratio", "deadline_miss_ratio")}
    report = Report(measured_at=datetime.now(UTC), requests_per_second=rate, **told)
    router = Member(id="router", kind=MemberKind.ROUTER, address="router:1", report=report)
    worker = Member(id="worker", kind=MemberKind.CPU_WORKER, address="worker:1", report=report)
    directive = Directive(epoch=1, revision=1, levels=levels)
    return Fleet(epoch=1, revision=1, members=(router, worker), directive=directive, signals=Signals(**signals))


def shown(trends: Trends) -> dict[str, tuple[str, str]]:
    """The lines of the table: what is now, and the bars, by name."""
    console = Console(width=160)
    with console.capture() as capture:
        console.print(trends.table())
    cells = [re.split(r" {2,}", line.strip()) for line in capture.get().splitlines()]
    return {name: (now, bars) for name, now, bars in cells}


def test_goodput_is_what_was_neither_refused_nor_missed_at_routers() -> None:
    assert goodput(fleet(rate=100.0)) == 100.0
    assert goodput(fleet(rate=100.0, refused_ratio=0.5, deadline_miss_ratio=0.1)) == pytest.approx(45.0)
    assert goodput(Fleet(epoch=1, revision=1, members=(), directive=Directive(epoch=1, revision=1))) is None


def test_a_signal_s_line_says_what_it_is_and_how_it_came_to_that() -> None:
    trends = Trends()
    trends.add(fleet(utilization=0.1, queue_delay_s=0.004))
    trends.add(fleet(utilization=0.95, levels=(Level.OFFLOAD, Level.ADMIT)))
    lines = shown(trends)
    assert lines["accelerators busy"] == ("95%", BARS[0] + BARS[7])
    assert lines["queue"] == ("–", BARS[7] + "·")
    assert lines["level"] == ("3", BARS[0] + BARS[7])
    assert lines["memory"] == ("–", "··")


def test_no_more_readings_are_kept_than_are_shown() -> None:
    trends = Trends()
    for _ in range(2 * READINGS):
        trends.add(fleet(utilization=0.5))
    assert shown(trends)["accelerators busy"] == ("50%", BARS[4] * READINGS)


@given(some.lists(some.none() | some.floats(0, 1e9), max_size=80), some.none() | some.floats(0.1, 10))
def test_there_is_a_bar_for_every_value_and_a_higher_one_for_no_lower_value(
    values: list[float | None], full: float | None
) -> None:
    drawn = sparkline(values, full)
    assert len(drawn) == len(values)
    pairs = sorted((value, bar) for value, bar in zip(values, drawn, strict=True) if value is not None)
    assert [bar for _, bar in pairs] == sorted(bar for _, bar in pairs)
    assert all((bar == "·") == (value is None) for value, bar in zip(values, drawn, strict=True))
