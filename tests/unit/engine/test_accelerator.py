"""The torch backend on an accelerator. Skipped, visibly, where there is none."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from sluice.domain.enums import Task
from sluice.domain.errors import Saturated
from sluice.engine.accelerator import TorchAccelerator, pick_device
from sluice.engine.checkpoint.weight_size import weight_bytes
from sluice.engine.precision.loader import inference_ctx, load_precise
from sluice.engine.precision.quantizers import held_bytes, quantizer_of
from sluice.worker.execution.backend import Backend, Classification, DetectsDeviceLoss, Item
from sluice.worker.execution.batch_runner import run_batch
from tests.unit.engine.conftest import Demo
from tests.unit.engine.loading import full, table, vectors
from tests.unit.engine.plain import POOLINGS
from tests.unit.engine.sentences import add_modules, add_pooling
from tests.unit.engine.tiny import ARCHITECTURES, TEXTS, write_base, write_language_model

pytestmark = [pytest.mark.torch, pytest.mark.gpu]
SAMPLE = 96


def test_auto_serves_in_mixed_on_the_accelerator_and_agrees_with_the_cpu(models: Path, demo: Demo) -> None:
    checkpoint = models / "support-intent-full"
    fast = full(checkpoint, device="auto")
    assert fast.variant.precision == "mixed"
    assert fast.variant.device != "cpu"
    there = np.array(table(fast, demo.texts[:SAMPLE]))
    here = np.array(table(full(checkpoint), demo.texts[:SAMPLE]))
    assert (there.argmax(1) == here.argmax(1)).mean() >= 0.97
    assert np.abs(there - here).mean() < 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp16", "mixed", "fp8", "int4"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_answers_nearly_as_on_the_cpu(
    tiny_checkpoints: dict[str, Path], architecture: str, precision: str
) -> None:
    if (architecture, precision) == ("mobilebert", "int4"):
        pytest.skip("no row of the little model is long enough")
    checkpoint = tiny_checkpoints[architecture]
    there = np.array(table(full(checkpoint, precision=precision, device="auto"), TEXTS))
    assert np.abs(there - np.array(table(full(checkpoint), TEXTS))).max() < 0.35


def rightness(backend: Backend, rows: np.ndarray, demo: Demo) -> float:
    """The share of `rows` in which the right label is the likeliest."""
    answers = [backend.variant.labels[best] for best in rows.argmax(1)]
    return sum(one == label for one, label in zip(answers, demo.labels, strict=True)) / len(answers)


@pytest.mark.parametrize("precision", ["mixed", "fp8", "int4"])
def test_the_demo_model_keeps_its_quality_in_every_precision(models: Path, demo: Demo, precision: str) -> None:
    backend = full(models / "support-intent-full", precision=precision, device="auto")
    rows = np.array(table(backend, demo.texts))
    right = rightness(backend, rows, demo)
    plain = np.array(table(full(models / "support-intent-full"), demo.texts))
    assert right > rightness(backend, plain, demo) - 0.03


@pytest.mark.parametrize("precision", ["fp32", "mixed", "fp8"])
def test_the_size_told_from_files_is_what_the_device_holds(models: Path, precision: str) -> None:
    checkpoint = models / "support-intent-full"
    device = pick_device("auto")
    load_precise(checkpoint, precision=precision, device=device)
    gc.collect()
    before = torch.accelerator.memory_allocated()
    model = load_precise(checkpoint, precision=precision, device=device)
    grown = torch.accelerator.memory_allocated() - before
    assert held_bytes(model) == pytest.approx(weight_bytes(checkpoint, precision), rel=0.02)
    # The allocator gives every tensor whole blocks.
    assert held_bytes(model) <= grown < 1.2 * held_bytes(model)


@pytest.mark.parametrize("precision", ["mixed", "fp8", "int4"])
@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2"])
def test_a_language_model_writes_on_it(tmp_path: Path, architecture: str, precision: str) -> None:
    checkpoint = write_language_model(tmp_path / "writer", architecture)
    device = pick_device("auto")
    model = load_precise(checkpoint, precision=precision, device=device, task=Task.TEXT_GENERATION)
    written = torch.tensor([[5, 6, 7]], device=device)
    with inference_ctx(precision):
        # `generate` would have experts computed in another way, for which quantized ones are not made.
        for _ in range(4):
            logits = model(input_ids=written).logits[:, -1:]
            assert logits.isfinite().all()
            written = torch.cat((written, logits.argmax(-1)), dim=1)
    assert written.shape == (1, 7)


def test_fp8_multiplies_in_fp8_where_the_device_can() -> None:
    # What computes in half precision only saves memory; on a device with fp8 units that would be a loss of speed.
    device = pick_device("auto")
    if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0):
        found = quantizer_of("fp8", device)
        assert found.name == "fp8 weights and activations"
        assert found.groups_experts
    else:
        pytest.skip("nobody knows what this device can")


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


def test_a_batch_that_does_not_fit_costs_the_longest_texts_and_no_crash(models: Path) -> None:
    backend = full(models / "support-intent-full", precision="fp32", device="auto")
    items = [Item("where is my parcel? " * (1 + place % 50), truncate=True) for place in range(4096)]
    accelerator = TorchAccelerator(pick_device("auto"))
    torch.accelerator.empty_cache()
    room = 1 << 30
    hog = torch.empty(int(accelerator.memory_bytes()[0]) - room, dtype=torch.uint8, device=pick_device("auto"))
    outputs = run_batch(backend, items)
    answered = [isinstance(one, Classification) for one in outputs]
    assert all(isinstance(one, Classification | Saturated) for one in outputs)
    assert any(answered)
    assert not all(answered)
    del hog
    torch.accelerator.empty_cache()
    assert all(isinstance(one, Classification) for one in run_batch(backend, items))
    assert isinstance(backend, DetectsDeviceLoss)
    assert not backend.is_device_lost()
