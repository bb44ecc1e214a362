"""Experts that all see every token give what chosen ones give, and take the same gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from sluice.training.all_experts import compute_all_experts
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
ACCELERATOR, CPU = torch.device("cuda"), torch.device("cpu")


def mixture(**settings: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    common = {"vocab_size": 50, "pad_token_id": 0, "max_position_embeddings": 64, "initializer_range": 0.15}
    torch.manual_seed(0)
    config = tiny.ARCHITECTURES["deepseek_v3"](common)
    for key, value in settings.items():
        setattr(config, key, value)
    return AutoModelForSequenceClassification.from_config(config).train()


def logits(model: Any) -> Any:
    ids = torch.arange(1, 25).reshape(2, 12)
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def test_the_output_and_every_gradient_are_the_same() -> None:
    chosen, every = mixture(), mixture()
    compute_all_experts(every, ACCELERATOR)
    assert every.config._experts_implementation != chosen.config._experts_implementation
    torch.testing.assert_close(logits(every), logits(chosen), rtol=1e-4, atol=1e-5)
    for model in (chosen, every):
        logits(model).square().sum().backward()
    for (name, one), other in zip(chosen.named_parameters(), every.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5)


def test_half_precision_is_used_where_autocast_says_so() -> None:
    chosen, every = mixture(), mixture()
    compute_all_experts(every, ACCELERATOR)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(logits(every).float(), logits(chosen).float(), rtol=0.05, atol=0.05)
        logits(every).float().sum().backward()


def test_what_is_saved_is_the_same(tmp_path: Path) -> None:
    for name, device in (("chosen", CPU), ("every", ACCELERATOR)):
        model = mixture()
        compute_all_experts(model, device)
        model.save_pretrained(tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "chosen" / file).read_bytes() == (tmp_path / "every" / file).read_bytes()


@pytest.mark.parametrize(
    ("settings", "device"), [({}, CPU), ({"num_experts_per_tok": 1, "n_routed_experts": 8}, ACCELERATOR)]
)
def test_nothing_changes_on_a_cpu_or_where_most_would_be_in_vain(settings: dict[str, Any], device: Any) -> None:
    model = mixture(**settings)
    before = model.config._experts_implementation
    compute_all_experts(model, device)
    assert model.config._experts_implementation == before


def test_a_model_without_experts_is_left_alone(tmp_path: Path) -> None:
    from sluice.training.checkpoint import load

    model, _ = load(tiny.write(tmp_path / "plain", "distilbert"))
    compute_all_experts(model, ACCELERATOR)
