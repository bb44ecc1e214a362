"""Checkpoints as users bring them: real architectures with random weights and a tokenizer of their own, in little."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DeepseekV3Config,
    DistilBertConfig,
    LlamaConfig,
    MobileBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
)

LABELS = ("anger", "joy", "question", "thanks")
LONGEST = 64
TEXTS = (
    "where is my parcel?",
    "ok",
    "thank you so much, it arrived on Monday and everybody at home is happy with it",
    "这个包裹什么时候能到？",
    "I have written three times & nobody answers!",
    "Ünïcödé, emoji 🎁 and\ttabs",
)
"""Texts of one to about forty tokens, none of them too long."""
TOO_LONG = "far too long " * LONGEST
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
# Weights of this size make probabilities that differ, so that a mistake shows.
_SPREAD = 0.15


def _bert(common: dict[str, Any]) -> PreTrainedConfig:
    return BertConfig(**_ENCODER, **common)


def _roberta(common: dict[str, Any]) -> PreTrainedConfig:
    return RobertaConfig(**_ENCODER, **common)


def _distilbert(common: dict[str, Any]) -> PreTrainedConfig:
    return DistilBertConfig(dim=32, hidden_dim=64, n_layers=2, n_heads=2, **common)


def _mobilebert(common: dict[str, Any]) -> PreTrainedConfig:
    sizes = {"embedding_size": 32, "intra_bottleneck_size": 32, "num_feedforward_networks": 1}
    return MobileBertConfig(**{**_ENCODER, "intermediate_size": 32}, **sizes, **common)


def _qwen2(common: dict[str, Any]) -> PreTrainedConfig:
    return Qwen2Config(**_ENCODER, num_key_value_heads=1, **common)


def _deberta(common: dict[str, Any]) -> PreTrainedConfig:
    # As the published ones: relative positions only, shared with the keys, in logarithmic buckets, and a convolution.
    relative = {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "conv_kernel_size": 3,
    }
    buckets = {"position_buckets": 8, "position_biased_input": False, "norm_rel_ebd": "layer_norm"}
    return DebertaV2Config(**{**_ENCODER, **relative, **buckets, **common, "type_vocab_size": 0})


def _llama(common: dict[str, Any]) -> PreTrainedConfig:
    return LlamaConfig(**_ENCODER, num_key_value_heads=1, **common)


def _deepseek(common: dict[str, Any]) -> PreTrainedConfig:
    return DeepseekV3Config(**{**LATENT, **common})


_ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
# Latent attention in every layer, and four experts in two groups behind a first dense one.
LATENT: dict[str, Any] = {
    **_ENCODER,
    "kv_lora_rank": 8,
    "q_lora_rank": 12,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
}
ENCODERS: dict[str, Callable[[dict[str, Any]], PreTrainedConfig]] = {
    "bert": _bert,
    "distilbert": _distilbert,
    "mobilebert": _mobilebert,
    "roberta": _roberta,
}
DECODERS: dict[str, Callable[[dict[str, Any]], PreTrainedConfig]] = {
    "deepseek_v3": _deepseek,
    "llama": _llama,
    "qwen2": _qwen2,
}
ARCHITECTURES = {**ENCODERS, "deberta-v2": _deberta, **DECODERS}


def write(directory: Path, architecture: str = "distilbert", *, seed: int = 0, **settings: Any) -> Path:
    """Write a classifier whose weights come from `seed`; `settings` go into its config. Returns `directory`."""
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: place for place, label in enumerate(LABELS)}}
    return _save(directory, architecture, AutoModelForSequenceClassification, seed, {**labels, **settings})


def write_base(directory: Path, architecture: str = "distilbert", *, seed: int = 0, **settings: Any) -> Path:
    """Write a model without a head, as `write` does one with."""
    return _save(directory, architecture, AutoModel, seed, settings)


def write_language_model(directory: Path, architecture: str = "qwen2", *, seed: int = 0, **settings: Any) -> Path:
    """Write a model that writes texts, one of DECODERS, as `write` does a classifier."""
    return _save(directory, architecture, AutoModelForCausalLM, seed, settings)


def _save(directory: Path, architecture: str, kind: Any, seed: int, settings: dict[str, Any]) -> Path:
    words = tokenizer()
    common = {
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "max_position_embeddings": LONGEST,
        "initializer_range": _SPREAD,
        **settings,
    }
    torch.manual_seed(seed)
    model = kind.from_config(ARCHITECTURES[architecture](common))
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def edit(file: Path, **changes: Any) -> None:
    """Change top-level keys of a JSON file; None takes one away."""
    content = json.loads(file.read_text(encoding="utf-8"))
    content.update(changes)
    kept = {key: value for key, value in content.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over a few sentences: it reads every text, and gives it a first and a last token."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS, trainer)
    ends = [(token, inner.token_to_id(token)) for token in (SPECIAL["cls_token"], SPECIAL["sep_token"])]
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL)
