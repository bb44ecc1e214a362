"""The overload experiments in their short variants: the direction of each, and no figure."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.overload.__main__ import EXPERIMENTS
from tests.e2e.sluice_command import ROOT, environ

pytestmark = [
    pytest.mark.overload,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("matplotlib") is None, reason="the plots extra is not installed"),
]
TRIES = 2
needs_torch = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
]


@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=needs_torch if number == 7 else (), id=name) for number, name in EXPERIMENTS.items()],
)
def test_the_direction_is_right(tmp_path: Path, number: int) -> None:
    for _ in range(TRIES):
        outcome, is_right, shown = play(number, tmp_path)
        if is_right:
            return
        # Whose load did not come in time has shown nothing, neither way.
        assert outcome["problems"], shown
    pytest.skip(f"the machine is too busy to tell: {outcome['problems'][0]}")


def play(number: int, output: Path) -> tuple[dict[str, Any], bool, str]:
    """An experiment's outcome, whether its directions are right, and what it said."""
    command = [sys.executable, "-m", "benchmarks.overload", "--quick", "--only", str(number), "--output", str(output)]
    ended = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True, timeout=180, check=False)
    file = output / f"{number}-{EXPERIMENTS[number]}.json"
    assert file.exists(), f"{ended.stdout}\n{ended.stderr}"
    outcome = json.loads(file.read_text())
    directions = [check for check in outcome["checks"] if check["direction"]]
    assert directions
    assert list(output.glob(f"{number}-*.png"))
    is_right = all(check["passed"] for check in directions)
    assert ended.returncode == (0 if is_right else 1), ended.stderr
    return outcome, is_right, ended.stdout
