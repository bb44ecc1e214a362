"""The overload experiments in their short variants: the direction of each, and no figure."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.overload.__main__ import EXPERIMENTS
from tests.e2e.sluice_command import ROOT, environ

pytestmark = [
    pytest.mark.overload,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("matplotlib") is None, reason="the plots extra is not installed"),
]
needs_torch = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="the worker extra is not installed"),
]


@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=needs_torch if number == 7 else (), id=name) for number, name in EXPERIMENTS.items()],
)
def test_the_direction_is_right(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "benchmarks.overload", "--quick", "--only", str(number), "--output", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True, timeout=380, check=False)
    file = tmp_path / f"{number}-{EXPERIMENTS[number]}.json"
    assert file.exists(), f"{ended.stdout}\n{ended.stderr}"
    outcome = json.loads(file.read_text())
    directions = [check for check in outcome["checks"] if check["direction"]]
    assert directions
    assert list(tmp_path.glob(f"{number}-*.png"))
    is_right = all(check["passed"] for check in directions)
    assert ended.returncode == (0 if is_right else 1), ended.stderr
    if not is_right and outcome["problems"]:
        pytest.skip(f"the machine is too busy to tell: {outcome['problems'][0]}")
    assert is_right, ended.stdout
