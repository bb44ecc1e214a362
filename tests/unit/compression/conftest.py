"""A checkpoint and its fp32 graph that many tests read and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other on busy cores take longer than one alone."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DistilBERT with random weights."""
    from tests.unit.engine import tiny

    return tiny.write(tmp_path_factory.mktemp("compression") / "original", "distilbert")


@pytest.fixture(scope="session")
def graph(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint's graph in fp32."""
    from sluice.compression.run import export
    from sluice.compression.source import open_source

    folder = tmp_path_factory.mktemp("graph")
    file = folder / "plain.onnx"
    export(open_source(checkpoint, folder / "staging", allow_pickle=False).model, file, output_name="logits")
    return file
