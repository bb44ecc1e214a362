"""A run's results: one object for tables, pictures and claims."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice.cli.load_report import progress, report
from sluice.load.kind import Kind
from sluice.load.result import SCHEMA, result
from sluice.load.run import Cost, Recording
from sluice.load.tally import Tally
from tests.unit.load.scenes import answer, plan


def recording(*, lag_ms: float = 1.0, loop_cpu_s: float = 0.2, **changes: Any) -> Recording:
    """A second with three answered and one refused request, of which one is hot."""
    tally = Tally(1.0)
    for number, kind in enumerate((Kind.OK, Kind.OK, Kind.OK, Kind.REFUSED)):
        hot = number == 0
        tally.offered(hot=hot, at_s=0.1)
        tally.sent(at_s=0.1, lag_ms=lag_ms)
        if kind is Kind.OK:
            tally.answered(answer(), label="parcel", at_s=0.2)
        else:
            tally.refused(3.0)
        tally.ended(kind, hot=hot, at_s=0.2, scheduled_s=0.1, status=kind.upper())
    costs = {0: Cost(passed_s=1.0, cpu_s=0.4, loop_cpu_s=loop_cpu_s)}
    return Recording(plan=plan(**changes), tally=tally, costs=costs)


def text_of(renderable: object) -> str:
    """What a terminal would show."""
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_results_are_json_and_say_what_there_was() -> None:
    results = json.loads(json.dumps(result(recording())))
    assert results["schema"] == SCHEMA
    assert results["valid"]
    everyone = results["totals"]["all"]
    assert (everyone["offered"], everyone["ok"], everyone["refused"]) == (4, 3, 1)
    assert everyone["availability"] == 0.75
    assert everyone["availability_95"][0] < 0.75 < everyone["availability_95"][1]
    assert results["totals"]["hot"]["availability"] == 1.0
    assert results["statuses"] == {"OK": 3, "REFUSED": 1}
    assert results["accuracy"] == 1.0
    assert results["tiers"] == {"light": 3}
    assert results["generator"]["cpu_us_per_request"] == 100_000
    assert [row["at_s"] for row in results["windows"]] == [0.0]
    assert results["plan"]["texts"] == 5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"lag_ms": 50.0}, "was late: p99 of its own lag is 5"), ({"loop_cpu_s": 0.95}, "was saturated: 95% of a core")],
)
def test_a_run_whose_generator_was_at_fault_is_not_valid(changes: dict[str, float], problem: str) -> None:
    results = result(recording(**changes))
    assert not results["valid"]
    assert problem in results["problems"][0]
    assert f"NOT VALID: the generator {problem}"[:40] in text_of(report(results))


def test_conversations_are_counted_among_those_whose_end_was_seen() -> None:
    one = recording(turns=(5, 10))
    for name, count in (("begun", 10), ("finished", 6), ("lost", 2), ("unfinished", 2)):
        one.tally.whole.counts[f"cold.conversations.{name}"] = count
    found = result(one)["conversations"]
    assert found["cold"]["lost_ratio"] == 0.25
    assert found["hot"]["lost_ratio"] is None
    assert "25.00% lost" in text_of(report(result(one)))
    assert "none has ended" in text_of(report(result(one)))


def test_nothing_offered_is_no_division_by_it() -> None:
    empty = Recording(plan=plan(), tally=Tally(1.0), costs={})
    results = result(empty)
    assert results["totals"]["all"]["availability"] is None
    assert results["generator"]["cpu_us_per_request"] is None
    assert "offered" in text_of(report(results))
    assert "offered" in text_of(progress(empty))


def test_the_live_view_has_a_line_for_each_window() -> None:
    lines = text_of(progress(recording())).splitlines()
    assert lines[1].split()[:4] == ["0", "4", "3", "1"]
