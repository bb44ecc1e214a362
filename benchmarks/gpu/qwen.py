"""A language model of the shape of DeepSeek-R1-Distill-Qwen-1.5B, with random weights that are made on the device."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.gpu.bench import Bench

SEED = 20260101
DTYPES = {"fp32": torch.float32, "mixed": torch.bfloat16}
_FULL = {
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
}
_SMOKE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def make_model(bench: Bench, precision: str) -> Any:
    """The model, in evaluation mode; its weights are of the type that DTYPES has for `precision`."""
    config = Qwen2Config(**(_SMOKE if bench.smoke else _FULL), tie_word_embeddings=False)
    torch.manual_seed(SEED)
    with torch.device(bench.device):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    return model.eval().requires_grad_(requires_grad=False)


def cache_argument(model: Any) -> str:
    """What transformers calls the cache, which newer releases call otherwise."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def streamed_bytes(model: Any) -> int:
    """The weights that every step reads whole: all but the table of word embeddings, of which it looks rows up."""
    table = model.get_input_embeddings().weight
    return sum(one.numel() * one.element_size() for one in model.parameters() if one is not table)
