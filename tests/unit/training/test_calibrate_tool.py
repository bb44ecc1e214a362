"""The tool that fits the router's judgement of complexity."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.router.scheduling.complexity import FEATURES, read_weights

pytest.importorskip("numpy")
ROOT = Path(__file__).resolve().parents[3]


def test_what_it_writes_can_be_loaded_and_ranks_what_was_held_out(tmp_path: Path) -> None:
    file = tmp_path / "weights.json"
    command = [
        sys.executable,
        "tools/calibrate_complexity.py",
        "--messages",
        "400",
        "--seed",
        "3",
        "--output",
        str(file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert set(content["weights"]) == set(FEATURES)
    assert content["measured"]["test_held_out"]["spearman"] > 0.9
    judge = read_weights(file)
    assert (
        judge("Where is it?") < 0.2 < judge("First it broke. Then it burned. Now it is gone. And nobody answers. " * 3)
    )
