"""What experiments claim by: recovery, settling, transitions, and shares."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.overload.check import at_least, at_most, holds
from benchmarks.overload.course import CROSSING_S, crossing, edge, episode
from benchmarks.overload.metastability import recovered_s
from benchmarks.overload.outcome import Outcome
from benchmarks.overload.puppet import first_s, transitions
from benchmarks.overload.reaction import LATE_S, TARGET_MS, settled_s
from benchmarks.overload.reading import at_full_service, goodput, kept, lost, windows
from sluice.domain.enums import Level, MemberKind


def run(shares: list[float]) -> dict[str, Any]:
    """A run that kept these shares of a hundred requests in each second."""
    rows = []
    for second, share in enumerate(shares):
        pools = {pool: {"offered": 50, "kept": round(50 * share)} for pool in ("hot", "cold")}
        rows.append({"at_s": float(second), **pools})
    return {"windows": rows, "plan": {"window_s": 1.0, "duration_s": float(len(shares))}, "fleet": []}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], 0.0),
        ([0.2, 0.9, 1.0, 1.0, 1.0], 2.0),
        ([0.2, 1.0, 0.5, 1.0, 1.0, 1.0], 3.0),
        ([0.2, 0.3, 1.0, 1.0], None),
        ([0.0] * 10, None),
    ],
)
def test_a_mesh_has_recovered_when_three_seconds_in_a_row_are_good(after: list[float], expected: float | None) -> None:
    results = run([1.0] * 6 + [0.1, 0.1, 0.1] + after)
    assert recovered_s(results, 9.0, 6.0) == expected


def test_what_was_not_perfect_before_need_not_be_so_after() -> None:
    assert recovered_s(run([0.9] * 6 + [0.1] + [0.9] * 3), 7.0, 6.0) == 0.0


def test_a_queue_has_settled_when_it_is_never_again_beyond_the_target() -> None:
    capacity = 100.0
    beyond, within = TARGET_MS / 1000 * capacity + 5, 5
    fleet = [
        {"at_s": at_s, "hot_queued": 0, "cold_queued": beyond if 10.2 < at_s < 11.0 or at_s == 9.0 else within}
        for at_s in (9.0, 10.0, 10.4, 10.8, 11.2, 12.0)
    ]
    assert settled_s({"fleet": fleet}, 10.0, capacity=capacity) == pytest.approx(0.8)
    assert settled_s({"fleet": [*fleet, {"at_s": 13.0, "lost": "x"}]}, 11.0, capacity=capacity) == 0.0
    stuck = [{"at_s": 10.0 + step / 2, "hot_queued": 0, "cold_queued": beyond} for step in range(40)]
    assert LATE_S - 1 < settled_s({"fleet": stuck}, 10.0, capacity=capacity) < LATE_S


def test_transitions_are_the_moments_at_which_levels_change() -> None:
    rows = [{"at_s": 0.0, "levels": []}, {"at_s": 1.0, "levels": [1]}, {"at_s": 2.0, "levels": [1]}]
    rows += [{"at_s": 3.0, "lost": "x"}, {"at_s": 4.0, "levels": [1, 2]}, {"at_s": 5.0, "levels": []}]
    assert transitions(rows) == [(1.0, (1,)), (4.0, (1, 2)), (5.0, ())]
    assert (first_s(rows, 1), first_s(rows, 2), first_s(rows, 3)) == (1.0, 4.0, None)


def test_a_course_crosses_when_it_says_and_answers_to_the_levels() -> None:
    gpu = MemberKind.GPU_WORKER
    assert (
        crossing(gpu, CROSSING_S - 0.01, ())["utilization"] < 0.8 < 0.9 < crossing(gpu, CROSSING_S, ())["utilization"]
    )
    assert crossing(gpu, CROSSING_S - 0.01, ())["memory"] < 0.75 < 0.85 < crossing(gpu, CROSSING_S, ())["memory"]
    eased = episode(gpu, CROSSING_S, (Level.OFFLOAD,))
    added_back = episode(MemberKind.ROUTER, CROSSING_S, (Level.OFFLOAD,))["offloaded_utilization"]
    assert eased["utilization"] < 0.8 < eased["utilization"] + added_back
    values = [edge(gpu, 0.1 * step, ())["utilization"] for step in range(600)]
    assert min(values) < 0.89 < 0.91 < max(values)


def test_shares_are_of_what_was_offered_and_names_of_what_was_answered() -> None:
    results = run([1.0, 0.5, 0.0])
    assert kept(windows(results, 0.0, 2.0)) == 0.75
    assert kept([]) == 1.0
    assert goodput(results, 0.0, 2.0) == 75.0
    assert at_full_service([{"levels": {"0": 1, "1": 3}}, {"levels": {}}]) == 0.25
    assert at_full_service([{"levels": {}}]) is None


def test_lost_conversations_are_of_those_that_ended() -> None:
    counts = {"hot": {"lost": 0, "finished": 0}, "cold": {"lost": 1, "finished": 3}}
    assert lost({"conversations": counts}) == {"hot": None, "cold": 0.25, "all": 0.25}


def test_what_was_not_measured_does_not_hold() -> None:
    assert not at_least("a", None, 0.0).passed
    assert not at_most("a", None, 0.0).passed
    assert at_least("a", 1.0, 1.0).passed
    assert at_most("a", 1.0, 1.0).passed
    checks = [at_least("a", 1.0, 0.5), holds("b", False)]
    assert not Outcome(title="", cast={}, checks=checks).passed
    assert Outcome(title="", cast={}, checks=checks[:1]).passed
