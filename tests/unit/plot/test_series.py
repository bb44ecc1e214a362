"""What a picture is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sluice.plot.run_file import read_run
from sluice.plot.series import Band, bands, latency, per_second, queue, signal
from sluice.runtime.config import ConfigError


def window(at_s: float, *, ok: int = 10, levels: dict[str, int] | None = None) -> dict[str, Any]:
    """A window with `ok` answers in each pool."""
    summary = {"p50": 5.0, "p99": 9.0}
    counts = {"offered": ok + 2, "ok": ok, "refused": 2, "late": 0, "expired": 0, "silent": 0, "failed": 0, "unsent": 0}
    pool = {**counts, "latency_ms": summary}
    return {"at_s": at_s, "hot": pool, "cold": pool, "queue_ms": summary, "levels": levels or {"0": 2 * ok}}


def results(windows: list[dict[str, Any]], fleet: list[dict[str, Any]] | None = None, **plan: Any) -> dict[str, Any]:
    """A run's results, as far as pictures need them."""
    plan = {"window_s": 0.5, "duration_s": len(windows) * 0.5, "deadline_s": 1.0} | plan
    return {"schema": 1, "plan": plan, "windows": windows, "fleet": fleet or []}


RUN = results([window(0.0), window(0.5, ok=20), window(1.0)], duration_s=1.0)


def test_counts_are_rates_and_a_window_behind_the_last_arrival_is_none() -> None:
    assert per_second(RUN, "ok").values == (40.0, 80.0, None)
    assert per_second(RUN, "ok", pools=("hot",)).values == (20.0, 40.0, None)
    assert per_second(RUN, "ok", "refused", pools=("hot",)).values == (24.0, 44.0, None)


def test_times_are_those_of_the_windows() -> None:
    assert latency(RUN, "hot", "p99").values == (9.0, 9.0, 9.0)
    assert queue(RUN, "p50").at_s == (0.0, 0.5, 1.0)


def test_a_signal_has_a_gap_where_the_governor_was_away() -> None:
    fleet = [{"at_s": 0.1, "levels": [], "memory": 0.5}, {"at_s": 0.2, "lost": "UNAVAILABLE"}]
    assert signal(results([window(0.0)], fleet), "memory").values == (0.5, None)
    assert signal(results([window(0.0)], fleet), "utilization").is_empty


def test_a_signal_has_a_gap_where_the_fleet_was_silent() -> None:
    fleet = [{"at_s": at_s, "levels": [], "memory": 0.5} for at_s in (0.1, 0.3, 9.0)]
    silent = signal(results([window(0.0)], fleet), "memory")
    assert silent.values == (0.5, 0.5, None, 0.5)
    assert silent.at_s == (0.1, 0.3, 0.3, 9.0)


def test_bands_are_the_governor_s_and_end_with_the_run() -> None:
    fleet = [{"at_s": at_s, "levels": levels} for at_s, levels in ((0.0, []), (0.2, [1]), (0.4, [1, 3]), (0.7, [3]))]
    found = bands(results([window(0.0), window(0.5)], [*fleet, {"at_s": 0.8, "lost": "x"}]))
    assert found == (Band(1, 0.2, 0.7), Band(3, 0.4, 1.0))


def test_without_a_fleet_bands_are_what_most_answers_say() -> None:
    windows = [window(0.0), window(0.5, levels={"0": 3, "1+2": 9}), window(1.0, levels={"0": 9, "1+2": 3})]
    assert bands(results(windows)) == (Band(1, 0.5, 1.0), Band(2, 0.5, 1.0))


@given(some.lists(some.sets(some.sampled_from([1, 2, 3])), max_size=12))
def test_a_level_is_in_a_band_exactly_when_it_is_in_force(course: list[set[int]]) -> None:
    fleet = [{"at_s": 0.1 * place, "levels": sorted(levels)} for place, levels in enumerate(course)]
    found = bands(results([window(0.0), window(5.0)], fleet, duration_s=5.5))
    for place, levels in enumerate(course):
        assert {band.level for band in found if band.from_s <= 0.1 * place < band.to_s} == levels


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot read"), ("{", "is no JSON"), ("[]", "holds no results"), ('{"schema": 99}', "schema 1")],
)
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        read_run(file)


def test_a_run_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    assert read_run(tmp_path / "run.json") == RUN
