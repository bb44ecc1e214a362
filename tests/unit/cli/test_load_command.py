"""How `sluice load` ends: with what was counted, also when it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.cli import load
from sluice.load.part import LoadFailed
from sluice.load.plan import Plan
from sluice.load.run import Recording
from sluice.load.trace import read_trace
from tests.unit.load.test_result import recording


def options(*words: str) -> argparse.Namespace:
    """The options of a command line."""
    parser = argparse.ArgumentParser()
    load.add_arguments(parser)
    return parser.parse_args(["--router", "r:1", "--governor", "g:1", *words])


def playing(monkeypatch: pytest.MonkeyPatch, ends: BaseException | None, **changes: float) -> list[Plan]:
    """Let runs begin, have a second counted, and end so; gives the plans that were played."""
    played: list[Plan] = []

    async def play(plan: Plan, *, on_begin: Callable[[Recording], object], **_: object) -> Recording:
        played.append(plan)
        if isinstance(ends, LoadFailed):
            raise ends
        one = recording(**changes)
        on_begin(one)
        if ends is not None:
            raise ends
        return one

    monkeypatch.setattr(load, "play", play)
    return played


@pytest.mark.parametrize(
    ("ends", "changes", "status"),
    [
        (None, {}, 0),
        (None, {"lag_ms": 50.0}, 1),
        (asyncio.CancelledError(), {}, 130),
    ],
    ids=["played", "generator late", "interrupted"],
)
async def test_what_was_counted_is_shown_and_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    ends: BaseException | None,
    changes: dict[str, float],
    status: int,
) -> None:
    playing(monkeypatch, ends, **changes)
    assert await load.run(options("--json", str(tmp_path / "run.json"))) == status
    assert "in time" in capsys.readouterr().out
    assert json.loads((tmp_path / "run.json").read_text())["totals"]["all"]["offered"] == 4


async def test_why_a_run_could_not_be_played_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    playing(monkeypatch, LoadFailed("no router answers at r:1"))
    assert await load.run(options()) == 1
    assert capsys.readouterr().err == "sluice load: no router answers at r:1\n"


async def test_the_schedule_that_is_recorded_is_the_one_that_is_played(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "trace.jsonl"
    played = playing(monkeypatch, None)
    await load.run(options("--rate", "50", "--duration", "2", "--record", str(file)))
    assert played[0].rate == ((0.0, 50.0),)
    assert 50 < len(read_trace(file)) < 200
