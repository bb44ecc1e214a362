"""The CPU benchmark's smoke run: a row is measured by real processes, shown and written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.local_mesh import HAS_TORCH
from tests.e2e.sluice_command import ROOT, environ

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not HAS_TORCH, reason="the worker extra is not installed"),
    pytest.mark.timeout(300),
]


def test_a_quick_run_measures_a_row_shows_it_and_writes_it(tmp_path: Path) -> None:
    output = tmp_path / "cpu.json"
    command = ["--quick", "--only", "served", "--output", output, "--cache", tmp_path / "cache"]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.cpu", *command],
        cwd=ROOT,
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["scale"] == "quick"
    assert content["machine"]["granted_cores"] >= 1
    assert content["rows"].keys() == {"served"}
    (served,) = content["rows"]["served"]["figures"]
    assert served["medians"]["mesh_per_s"] > 0
    assert served["measured"] == pytest.approx(
        served["medians"]["mesh_per_s"] / served["medians"]["loop_per_s"], rel=0.01
    )
    assert served["what"] in ended.stdout
