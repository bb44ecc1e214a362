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
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
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


_ENCODER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
ENCODERS: dict[str, Callable[[dict[str, Any]], PreTrainedConfig]] = {
    "bert": _bert,
    "distilbert": _distilbert,
    "mobilebert": _mobilebert,
    "roberta": _roberta,
}
ARCHITECTURES = {**ENCODERS, "qwen2": _qwen2}


def write(directory: Path, architecture: str = "distilbert", *, seed: int = 0, **settings: Any) -> Path:
    """Write a checkpoint whose weights come from `seed`; `settings` go into its config. Returns `directory`."""
    words = tokenizer()
    common = {
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "max_position_embeddings": LONGEST,
        "initializer_range": _SPREAD,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: place for place, label in enumerate(LABELS)},
        **settings,
    }
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(ARCHITECTURES[architecture](common))
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
