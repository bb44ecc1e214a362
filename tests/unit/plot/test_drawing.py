"""Pictures are drawn of whatever a run came to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sluice.plot.drawing import draw, require_matplotlib
from sluice.runtime.config import ConfigError
from tests.unit.plot.test_series import RUN, results, window

pytest.importorskip("matplotlib")

FLEET = [
    {"at_s": 0.0, "levels": [], "utilization": 0.5, "memory": 0.4, "hot_queued": 0, "cold_queued": 3},
    {"at_s": 0.4, "levels": [1, 3], "utilization": 0.95, "memory": None, "hot_queued": 2, "cold_queued": 30},
    {"at_s": 0.6, "lost": "UNAVAILABLE"},
]


@pytest.mark.parametrize(
    "runs",
    [
        [("", RUN)],
        [("on", results([window(0.0), window(0.5)], FLEET)), ("off", RUN)],
        [("", results([]))],
        [("on", results([window(0.0, ok=0)])), ("off", results([]))],
    ],
    ids=["one", "two", "nothing", "little"],
)
def test_a_picture_is_written(tmp_path: Path, runs: list[tuple[str, dict[str, object]]]) -> None:
    draw(runs, tmp_path / "run.png", title="a run")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_the_names_of_levels_and_runs_stand_in_the_picture(tmp_path: Path) -> None:
    draw([("with it", results([window(0.0)], FLEET)), ("without", RUN)], tmp_path / "run.svg")
    drawn = (tmp_path / "run.svg").read_text(encoding="utf-8")
    for name in ("1 offload", "3 admit", "with it: ok", "without: ok", "utilization", "deadline"):
        assert f"<!-- {name} -->" in drawn


def test_an_ending_that_is_no_picture_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'doc' is not supported"):
        draw([("", RUN)], tmp_path / "run.doc")


def test_without_matplotlib_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'sluice\[plots\]'"):
        require_matplotlib()
