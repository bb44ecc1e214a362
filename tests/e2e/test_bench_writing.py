"""The benchmark of writing, small on a CPU: every figure comes, nothing is lost, and the profile names the threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.local_mesh import HAS_TORCH
from tests.e2e.test_bench_gpu import smoke

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not HAS_TORCH, reason="the worker extra is not installed"),
    pytest.mark.timeout(300),
]


def test_texts_are_written_alone_and_through_the_mesh(tmp_path: Path) -> None:
    parts, printed = smoke("benchmarks.writing", tmp_path / "writing.json")
    assert all(figure["measured"] > 0 for figure in parts["pages"]["figures"])
    figures = {figure["what"]: figure for part in ("alone", "mesh") for figure in parts[part]["figures"]}
    assert figures["texts lost in that mix"]["measured"] == 0
    assert figures["streams lost"]["measured"] == 0
    first = figures["first token at 8 open streams, through the mesh, p50, ms"]
    assert first["notes"]["texts"] > 0
    assert {"MainThread", "writer"} <= first["notes"]["worker"]["threads"].keys()
    assert "first token at 8 open streams" in printed
