"""Heads and neurons go as wholes, the weakest first, and what is left computes as before without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, DistilBertConfig, MobileBertConfig, PreTrainedConfig

from sluice.compression.pruning import prune, remove_heads
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
IDS = torch.arange(24).reshape(2, 12)
MASK = torch.tensor([[1] * 12, [1] * 7 + [0] * 5])


def model(tmp_path: Path, architecture: str) -> Any:
    path = tiny.write(tmp_path / architecture, architecture)
    return AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager").eval()


def built(config: PreTrainedConfig) -> Any:
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=MASK).logits


def weights(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("architecture", tiny.ENCODERS)
def test_silent_heads_and_removed_heads_compute_the_same(tmp_path: Path, architecture: str) -> None:
    pruned = model(tmp_path, architecture)
    whole = weights(pruned)
    before = logits(pruned)
    pruning = prune(pruned, 0.5)
    without_neurons, silent = weights(pruned), logits(pruned)
    remove_heads(pruned, pruning.channels)
    assert whole > without_neurons > weights(pruned)
    assert torch.allclose(logits(pruned), silent, atol=1e-5)
    assert not torch.allclose(before, silent, atol=1e-3)
    assert (pruning.removed.heads, pruning.removed.of_heads) == (1, 2)
    assert pruning.removed.neurons * 2 == pruning.removed.of_neurons


@pytest.mark.parametrize("architecture", tiny.ENCODERS)
def test_a_pruned_model_is_saved_and_loaded_by_transformers_alone(tmp_path: Path, architecture: str) -> None:
    pruned = model(tmp_path, architecture)
    prune(pruned, 0.5)
    pruned.save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", attn_implementation="eager").eval()
    assert torch.equal(logits(again), logits(pruned))
    assert weights(again) == weights(pruned)


def test_mobilebert_is_pruned_in_each_of_its_stacked_networks() -> None:
    widths = {"hidden_size": 32, "embedding_size": 32, "intra_bottleneck_size": 32, "intermediate_size": 32}
    stacked = built(MobileBertConfig(**widths, num_hidden_layers=1, num_feedforward_networks=3))
    prune(stacked, 0.25)
    layer = stacked.base_model.encoder.layer[0]
    assert [network.intermediate.dense.out_features for network in (*layer.ffn, layer)] == [24, 24, 24]
    assert torch.isfinite(logits(stacked)).all()


def test_what_does_nothing_goes_first_and_is_not_missed(tmp_path: Path) -> None:
    idle = model(tmp_path, "distilbert")
    for layer in idle.base_model.transformer.layer:
        layer.attention.out_lin.weight.data[:, :16] = 0
        layer.ffn.lin2.weight.data[:, 1::2] = 0
    before = logits(idle)
    pruning = prune(idle, 0.5)
    remove_heads(idle, pruning.channels)
    assert [channels.tolist() for channels in pruning.channels] == [list(range(16))] * 2
    assert idle.base_model.transformer.layer[0].ffn.lin1.out_features == 32
    assert torch.allclose(logits(idle), before, atol=1e-5)


@pytest.mark.parametrize(
    ("fraction", "heads", "neurons"), [(0.0, 0, 0), (0.001, 0, 0), (0.25, 1, 25), (0.29, 1, 29), (0.999, 3, 99)]
)
def test_the_whole_part_goes_and_one_of_each_stays(fraction: float, heads: int, neurons: int) -> None:
    removed = prune(built(DistilBertConfig(dim=32, hidden_dim=100, n_layers=2, n_heads=4)), fraction).removed
    assert (removed.heads, removed.neurons) == (heads, neurons)
