"""Figures against their targets, and what the table and the file of results make of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.cpu.report import Report
from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.rounds import Rounds

MACHINE = {"processor": "a processor", "granted_cores": 2}
VERSIONS = {"torch": "2.13.0"}


def figure(what: str = "speed", measured: float = 5.0) -> Figure:
    return Figure(what=what, target=Target(4.5), measured=measured, how="by hand", spread=(4.0, 6.0))


def report(**changes: Any) -> Report:
    """A report of one row."""
    facts: dict[str, Any] = {
        "machine": MACHINE,
        "versions": VERSIONS,
        "scale": "full",
        "figures": {"speed": [figure()]},
        "load_before": {"speed": 0.125},
    }
    return Report(**(facts | changes))


def written(file: Path, one: Report) -> dict[str, Any]:
    one.write(file)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def test_a_bound_itself_is_good_enough_and_no_number_never_is() -> None:
    assert Target(4.5).is_met_by(4.5)
    assert not Target(4.5).is_met_by(4.49)
    assert Target(0.3, at_most=True).is_met_by(0.3)
    assert not Target(0.3, at_most=True).is_met_by(0.31)
    assert not Target(0.3).is_met_by(float("nan"))
    assert not Target(0.3, at_most=True).is_met_by(float("nan"))
    assert (str(Target(4.5)), str(Target(0.3, at_most=True))) == ("≥ 4.5", "≤ 0.3")


def test_a_ratio_keeps_what_it_was_made_of() -> None:
    rounds = Rounds({"int8_per_s": [40.0, 50.0, 60.0], "fp32_per_s": [10.0, 10.0, 10.0]})
    one = ratio_figure("x", Target(4.5), rounds, of="int8_per_s", to="fp32_per_s", how="y", notes={"threads": 2})
    content = one.content()
    assert (content["measured"], content["met"], content["spread"]) == (5.0, True, [4.0, 6.0])
    assert content["medians"] == {"int8_per_s": 50.0, "fp32_per_s": 10.0}
    assert content["notes"] == {"rounds": rounds.values, "threads": 2}


def test_the_table_shows_what_was_met_what_was_missed_and_what_failed() -> None:
    figures = {"speed": [figure("met figure"), figure("missed figure", 3.0)]}
    shown = io.StringIO()
    console = Console(width=120, file=shown)
    console.print(report(figures=figures, failures={"memory": "RuntimeError: no"}).table())
    lines = [line.split() for line in shown.getvalue().splitlines()]
    assert ["met", "figure", "≥", "4.5", "5.00", "4.00", "6.00", "yes"] in lines
    assert ["missed", "figure", "≥", "4.5", "3.00", "4.00", "6.00", "no"] in lines
    assert ["memory", "failed"] in lines


def test_results_hold_machine_versions_and_every_figure(tmp_path: Path) -> None:
    content = written(tmp_path / "cpu.json", report())
    assert (content["machine"], content["versions"], content["scale"]) == (MACHINE, VERSIONS, "full")
    assert content["rows"]["speed"] == {"load_before": 0.12, "figures": [figure().content()]}


def test_a_run_of_some_rows_leaves_the_others_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cpu.json"
    written(file, report())
    later = report(figures={"size": [figure("size", 0.2)]}, load_before={"size": 0.0})
    assert written(file, later)["rows"].keys() == {"speed", "size"}
    again = report(figures={"speed": [figure(measured=7.0)]})
    assert written(file, again)["rows"]["speed"]["figures"][0]["measured"] == 7.0


def test_a_row_that_fails_has_no_figures_of_an_earlier_run(tmp_path: Path) -> None:
    file = tmp_path / "cpu.json"
    written(file, report())
    failed = report(figures={}, failures={"speed": "RuntimeError: no answer"})
    assert written(file, failed)["rows"] == {"speed": {"failed": "RuntimeError: no answer"}}


@pytest.mark.parametrize(
    "change", [{"machine": MACHINE | {"granted_cores": 64}}, {"versions": {"torch": "2.14.0"}}, {"scale": "quick"}]
)
def test_rows_of_other_circumstances_are_not_mixed_with_these(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "cpu.json"
    written(file, report())
    later = report(figures={"size": [figure("size")]}, load_before={"size": 0.0}, **change)
    assert written(file, later)["rows"].keys() == {"size"}


def test_a_file_that_is_none_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "cpu.json"
    file.write_text("no JSON", encoding="utf-8")
    assert written(file, report())["rows"].keys() == {"speed"}


@pytest.mark.parametrize(("load", "busy"), [(0.4, 0.0), (3.5, 3.5)])
def test_a_busy_machine_is_told_of_by_the_load_before_the_first_row(load: float, busy: float) -> None:
    # Later rows see the load of those before them.
    assert report(load_before={"speed": load, "size": 9.0}).busy == busy
