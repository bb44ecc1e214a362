"""The recipe of each demo model: its architecture and sizes, and how long and how fast it is trained.

The three differ in depth, which is what composed messages ask for: pointing at a listed option and taking a change
back are steps of reasoning, and each step wants a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import DeepseekV3Config, DistilBertConfig, MobileBertConfig, PreTrainedConfig

from sluice.training.tokenizer import MAX_TOKENS
from sluice.training.trainer import Course


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """A model learns from another one: its probabilities at `temperature`, and by `alpha` from the right labels."""

    teacher: str
    """The other's key among RECIPES."""
    temperature: float
    alpha: float
    layers: tuple[int, ...] = ()
    """The places of the layers that it has of its teacher to begin with, embeddings included; none: it has nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one model is made."""

    name: str
    tier: str
    architecture: str
    config: Callable[[dict[str, Any]], PreTrainedConfig]
    """Returns the configuration, given vocabulary size, labels and padding token."""
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.01
    int8: bool = False
    """Whether an int8 ONNX file is what the tier serves."""
    taught: Taught | None = None
    """By whom, or None for a model that learns from right labels alone."""

    def course(self, seed: int) -> Course:
        """How long and how fast it learns."""
        return Course(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
            weight_decay=self.weight_decay,
        )


def deepseek_v3(shared: dict[str, Any], *, layers: int, experts: int, **more: Any) -> PreTrainedConfig:
    """The demo's DeepSeek-V3 of so many `layers` and routed `experts`; `more` are settings of transformers' own."""
    return DeepseekV3Config(
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        n_shared_experts=1,
        n_routed_experts=experts,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        routed_scaling_factor=1.0,
        kv_lora_rank=64,
        q_lora_rank=None,
        qk_rope_head_dim=16,
        qk_nope_head_dim=32,
        v_head_dim=32,
        num_mtp_layers=0,
        **shared,
        **more,
    )


def _full(shared: dict[str, Any]) -> PreTrainedConfig:
    return deepseek_v3(shared, layers=4, experts=8, max_position_embeddings=MAX_TOKENS, use_cache=False)


def _light(shared: dict[str, Any]) -> PreTrainedConfig:
    return DistilBertConfig(
        dim=128,
        hidden_dim=512,
        n_layers=3,
        n_heads=4,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.1,
        max_position_embeddings=MAX_TOKENS,
        **_without_ends(shared),
    )


def _quantized(shared: dict[str, Any]) -> PreTrainedConfig:
    return MobileBertConfig(
        hidden_size=128,
        embedding_size=64,
        intra_bottleneck_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_feedforward_networks=2,
        normalization_type="layer_norm",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_activation=False,
        max_position_embeddings=MAX_TOKENS,
        **_without_ends(shared),
    )


def _without_ends(shared: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shared.items() if key not in ("bos_token_id", "eos_token_id")}


RECIPES = {
    "full": Recipe(
        name="support-intent-full",
        tier="TIER_FULL",
        architecture="DeepSeek-V3",
        config=_full,
        steps=6040,
        batch_size=384,
        learning_rate=1.0e-3,
    ),
    "light": Recipe(
        name="support-intent-light",
        tier="TIER_LIGHT",
        architecture="DistilBERT",
        config=_light,
        steps=6000,
        batch_size=256,
        learning_rate=1.0e-3,
        taught=Taught(teacher="full", temperature=2.0, alpha=0.3),
    ),
    "quantized": Recipe(
        name="support-intent-quantized",
        tier="TIER_QUANTIZED",
        architecture="MobileBERT",
        config=_quantized,
        steps=9000,
        batch_size=256,
        learning_rate=2.0e-3,
        int8=True,
    ),
}
