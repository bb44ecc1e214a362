"""The recipes of the chat model and its copy: one architecture in two sizes, and how long and fast each is trained.

Depth is what copying takes (one layer finds where a value stands, another brings it), so the copy keeps four layers and
is narrow rather than flat.
"""

from __future__ import annotations

from typing import Any

from transformers import DeepseekV3Config, PreTrainedConfig

from sluice.training.chat.chat_format import MAX_TOKENS
from sluice.training.recipe import Recipe, Taught


def _config(shared: dict[str, Any], **sizes: int) -> PreTrainedConfig:
    return DeepseekV3Config(
        num_key_value_heads=sizes["num_attention_heads"],
        n_shared_experts=1,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        routed_scaling_factor=1.0,
        q_lora_rank=None,
        qk_rope_head_dim=16,
        qk_nope_head_dim=32,
        v_head_dim=32,
        num_mtp_layers=0,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        **sizes,
        **shared,
    )


def _full(shared: dict[str, Any]) -> PreTrainedConfig:
    return _config(
        shared,
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=8,
        kv_lora_rank=64,
    )


def _light(shared: dict[str, Any]) -> PreTrainedConfig:
    return _config(
        shared,
        hidden_size=160,
        intermediate_size=320,
        moe_intermediate_size=56,
        num_hidden_layers=4,
        num_attention_heads=4,
        kv_lora_rank=48,
    )


CHAT_RECIPES = {
    "chat": Recipe(
        name="support-chat-full",
        tier="TIER_FULL",
        architecture="DeepSeek-V3",
        config=_full,
        steps=4000,
        batch_size=384,
        learning_rate=1.5e-3,
    ),
    "chat-distilled": Recipe(
        name="support-chat-light",
        tier="TIER_LIGHT",
        architecture="DeepSeek-V3",
        config=_light,
        steps=3600,
        batch_size=384,
        learning_rate=2.0e-3,
        taught=Taught(teacher="chat", temperature=1.0, alpha=0.3),
    ),
}
