"""The torch backend on an accelerator. Skipped, visibly, where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.engine.conftest import Demo
from tests.unit.engine.loading import full, table, vectors
from tests.unit.engine.plain import POOLINGS
from tests.unit.engine.sentences import add_modules, add_pooling
from tests.unit.engine.tiny import ARCHITECTURES, TEXTS, write_base

pytestmark = [
    pytest.mark.torch,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="torch sees no accelerator"),
]
SAMPLE = 96


def test_auto_serves_in_bf16_on_the_accelerator_and_agrees_with_the_cpu(models: Path, demo: Demo) -> None:
    checkpoint = models / "support-intent-full"
    fast = full(checkpoint, device="auto")
    assert fast.variant.precision == "bf16"
    assert fast.variant.device != "cpu"
    there = np.array(table(fast, demo.texts[:SAMPLE]))
    here = np.array(table(full(checkpoint), demo.texts[:SAMPLE]))
    assert (there.argmax(1) == here.argmax(1)).mean() >= 0.97
    assert np.abs(there - here).mean() < 0.01


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fp32_on_the_accelerator_equals_the_cpu(tiny_checkpoints: dict[str, Path], architecture: str) -> None:
    checkpoint = tiny_checkpoints[architecture]
    there = np.array(table(full(checkpoint, precision="fp32", device="auto"), TEXTS))
    assert there == pytest.approx(np.array(table(full(checkpoint), TEXTS)), abs=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_vectors_on_the_accelerator_equal_the_cpus(tmp_path: Path, architecture: str) -> None:
    checkpoint = write_base(tmp_path / "mine", architecture)
    add_pooling(add_modules(checkpoint, "Normalize"), *POOLINGS)
    there = vectors(full(checkpoint, precision="fp32", device="auto"), TEXTS)
    assert there == pytest.approx(vectors(full(checkpoint), TEXTS), abs=1e-3)


def test_a_closed_backend_gives_its_memory_back(models: Path) -> None:
    # The libraries keep a workspace from their first call on, which is not the backend's to free.
    full(models / "support-intent-full", device="auto").close()
    before = torch.accelerator.memory_allocated()
    backend = full(models / "support-intent-full", device="auto")
    weights_bytes = torch.accelerator.memory_allocated() - before
    backend.close()
    assert weights_bytes > 4_000_000
    assert torch.accelerator.memory_allocated() - before < weights_bytes / 10
