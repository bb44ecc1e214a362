"""A model in every precision: what is held in what, what that saves, and by how little answers move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.weight_size import weight_bytes
from sluice.engine.precision.half import cast_to_half, half_of
from sluice.engine.precision.loader import PRECISIONS, inference_ctx, load_precise
from sluice.engine.precision.quantizers import held_bytes, quantizer_of
from tests.unit.engine.conftest import Demo
from tests.unit.engine.loading import full, table, vectors
from tests.unit.engine.plain import probabilities
from tests.unit.engine.tiny import ARCHITECTURES, TEXTS, write_base, write_language_model

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
DEMO = "support-intent-full"
# The largest difference of any label's probability from fp32 on texts of random models, which amplify noise.
BOUNDS = {"bf16": 0.05, "fp16": 0.02, "mixed": 0.05, "fp8": 0.15, "int4": 0.35}


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_answers_nearly_as_in_fp32(
    tiny_checkpoints: dict[str, Path], architecture: str, precision: str
) -> None:
    if (architecture, precision) == ("mobilebert", "int4"):
        pytest.skip("no row of the little model is long enough: see the test of what is refused")
    checkpoint = tiny_checkpoints[architecture]
    backend = full(checkpoint, precision=precision)
    assert backend.variant.precision == precision
    off = np.abs(np.array(table(backend, TEXTS)) - np.array(probabilities(checkpoint, TEXTS)))
    assert 0 < off.max() < BOUNDS[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_size_told_from_files_is_the_size_in_memory(models: Path, precision: str) -> None:
    held = held_bytes(load_precise(models / DEMO, precision=precision, device=CPU))
    assert held == pytest.approx(weight_bytes(models / DEMO, precision), rel=0.02)


def test_each_precision_saves_what_it_is_for(models: Path) -> None:
    held = {one: held_bytes(load_precise(models / DEMO, precision=one, device=CPU)) for one in PRECISIONS}
    assert held["mixed"] < 0.55 * held["fp32"]
    assert held["fp8"] < 0.65 * held["mixed"]
    assert held["int4"] < 0.80 * held["fp8"]


@pytest.mark.parametrize("precision", ["mixed", "fp8", "int4"])
def test_the_demo_loses_little_of_its_quality(models: Path, demo: Demo, precision: str) -> None:
    texts, labels = demo.texts[:200], demo.labels[:200]
    backend = full(models / DEMO, precision=precision)
    right = [
        backend.variant.labels[int(np.argmax(row))] == label
        for row, label in zip(table(backend, texts), labels, strict=True)
    ]
    plain = [
        backend.variant.labels[int(np.argmax(row))] == label
        for row, label in zip(table(full(models / DEMO), texts), labels, strict=True)
    ]
    assert sum(right) >= sum(plain) - 6


def test_what_rounding_would_hurt_stays_in_fp32(models: Path) -> None:
    model = load_precise(models / DEMO, precision="mixed", device=CPU)
    wide = {name for name, one in model.named_parameters() if one.dtype == torch.float32}
    parts = {"norm", "layernorm", "gate.weight", "score"}
    assert all(any(part in name for part in parts) for name in wide)
    for part in parts:
        assert any(part in name for name in wide)
    assert {one.dtype for one in model.parameters()} == {torch.float32, torch.bfloat16}


def test_a_norm_is_not_rounded_before_it_is_kept(tmp_path: Path) -> None:
    from transformers import AutoModel

    checkpoint = write_base(tmp_path / "base", "bert")
    plain = AutoModel.from_pretrained(checkpoint)
    fine = torch.full_like(plain.embeddings.LayerNorm.weight, 1.0001)
    plain.embeddings.LayerNorm.weight.data.copy_(fine)
    plain.save_pretrained(checkpoint)
    held = load_precise(checkpoint, precision="mixed", device=CPU, task=Task.FEATURE_EXTRACTION)
    assert torch.equal(held.embeddings.LayerNorm.weight, fine)


@pytest.mark.parametrize("precision", ["mixed", "fp8"])
def test_vectors_are_nearly_those_of_fp32(tmp_path: Path, precision: str) -> None:
    checkpoint = write_base(tmp_path / "base", "bert")
    there, here = vectors(full(checkpoint, precision=precision), TEXTS), vectors(full(checkpoint), TEXTS)
    cosines = (there * here).sum(1) / np.linalg.norm(there, axis=1) / np.linalg.norm(here, axis=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize("precision", ["mixed", "fp8", "int4"])
@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2"])
def test_a_language_model_writes_in_it(tmp_path: Path, architecture: str, precision: str) -> None:
    checkpoint = write_language_model(tmp_path / "writer", architecture)
    model = load_precise(checkpoint, precision=precision, device=CPU, task=Task.TEXT_GENERATION)
    prompt = torch.tensor([[5, 6, 7]])
    with inference_ctx(precision):
        written = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False
        )
    assert written.shape == (1, 7)
    # The head is as large as the embeddings: it is neither widened nor quantized.
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert type(model.lm_head.weight) is nn.Parameter


@pytest.mark.parametrize("precision", ["fp8", "int4"])
@pytest.mark.parametrize("architecture", ["deepseek_v3", "qwen2"])
def test_a_row_of_zeros_makes_nothing_no_number(tmp_path: Path, architecture: str, precision: str) -> None:
    checkpoint = write_language_model(tmp_path / "writer", architecture)
    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    dead = [name for name in weights if "up_proj" in name or "experts.0.gate" in name]
    for name in dead:
        weights[name][..., 3, :] = 0
    save_file(weights, file, metadata={"format": "pt"})
    model = load_precise(checkpoint, precision=precision, device=CPU, task=Task.TEXT_GENERATION)
    with inference_ctx(precision):
        logits = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert quantizer_of(precision, CPU).takes_dead_rows == (precision == "int4")
    assert dead
    assert logits.isfinite().all()


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    checkpoint = write_language_model(tmp_path / "writer", "qwen2", tie_word_embeddings=True)
    model = load_precise(checkpoint, precision="mixed", device=CPU, task=Task.TEXT_GENERATION)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_a_model_of_which_nothing_could_be_quantized_is_refused(tiny_checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InvalidRequest, match="no layer of mobilebert can be held in int4") as caught:
        full(tiny_checkpoints["mobilebert"], precision="int4")
    assert caught.value.field == "precision"


def test_without_torchao_the_error_says_what_to_install(
    tiny_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sluice.engine.precision import quantizers

    quantizers.quantizer_of.cache_clear()
    monkeypatch.setattr(quantizers, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"fp8 needs torchao: pip install 'sluice\[precision\]'") as caught:
        full(tiny_checkpoints["bert"], precision="fp8")
    assert caught.value.field == "precision"


def test_a_device_that_computes_no_quantizer_rightly_is_refused_with_every_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sluice.engine.precision import quantizers

    def wrong(config: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(3), torch.ones(3)

    quantizers.quantizer_of.cache_clear()
    monkeypatch.setattr(quantizers, "_linear", wrong)
    with pytest.raises(InvalidRequest, match=r"cpu cannot compute in fp8 \(.*off by 100%.*; .*off by 100%\)"):
        quantizers.quantizer_of("fp8", CPU)


class _Module:
    """A device's module of torch, which tells of bf16 what the test wants."""

    def __init__(self, *, native: bool) -> None:
        self._native = native

    def is_bf16_supported(self, *, including_emulation: bool) -> bool:
        return self._native or including_emulation


@pytest.mark.parametrize(("native", "half"), [(True, torch.bfloat16), (False, torch.float16)])
def test_half_is_bf16_where_the_device_has_it_and_not_only_pretends(
    monkeypatch: pytest.MonkeyPatch, native: bool, half: torch.dtype
) -> None:
    monkeypatch.setattr(torch, "get_device_module", lambda device=None: _Module(native=native))
    assert half_of(torch.device("xpu")) == half


def test_a_device_that_does_not_tell_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_device_module", lambda device=None: object())
    assert half_of(torch.device("meta")) == torch.float16


def test_a_model_in_fp16_with_care_computes_numbers(models: Path) -> None:
    from sluice.engine.checkpoint.model import load_model

    model = load_model(models / DEMO, dtype="auto")
    cast_to_half(model, torch.float16, head=True)
    tokens = torch.arange(5, 69).reshape(2, 32)
    with torch.inference_mode():
        logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
