"""The GPU benchmarks' smoke runs on a CPU: every part runs, is shown and written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_mesh import HAS_TORCH
from tests.e2e.sluice_command import ROOT, environ

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not HAS_TORCH, reason="the worker extra is not installed"),
    pytest.mark.timeout(300),
]


def smoke(module: str, output: Path) -> tuple[dict[str, Any], str]:
    """The parts in the file of results, and what was printed."""
    ended = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-m", module, "--smoke", "--device", "cpu", "--output", output],
        cwd=ROOT,
        env=environ() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["scale"] == "smoke"
    return content["parts"], ended.stdout


def test_every_part_of_the_full_tier_runs(tmp_path: Path) -> None:
    parts, printed = smoke("benchmarks.gpu", tmp_path / "gpu.json")
    assert parts.keys() == {"floors", "memory", "batch", "prefill", "decode", "decode-compiled"}
    assert [len(part["figures"]) for part in parts.values()] == [2, 1, 1, 3, 4, 4]
    (memory,) = parts["memory"]["figures"]
    assert 0.4 < memory["measured"] < 0.6
    assert "memory saved, mixed against fp32" in printed


def test_every_part_of_mixed_precision_runs(tmp_path: Path) -> None:
    parts, printed = smoke("benchmarks.mixed_precision", tmp_path / "mixed.json")
    assert parts.keys() == {"step", "digits"}
    assert [len(part["figures"]) for part in parts.values()] == [3, 1]
    (lost,) = parts["digits"]["figures"]
    accuracies = lost["notes"]["accuracies"]
    assert lost["measured"] == pytest.approx(accuracies["fp32"][0] - accuracies["mixed"][0], abs=0.01)
    assert "points of accuracy lost on digits" in printed
