"""Checkpoints with the sizes of well-known models and random weights: speed and memory do not depend on the weights."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MobileBertConfig,
    MobileBertForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers import logging as transformers_logging

from benchmarks.cpu.texts import words

SEED = 20260101
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, CLASSIFY, SEPARATE, MASK = SPECIAL_TOKENS
MAX_TOKENS = 512
CLASSES = {
    "distilbert": (DistilBertConfig, DistilBertForSequenceClassification),
    "mobilebert": (MobileBertConfig, MobileBertForSequenceClassification),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """An architecture of CLASSES with its default sizes, but for those that are named; `name` is its directory's."""

    name: str
    architecture: str
    sizes: Mapping[str, Any] = field(default_factory=dict)


def make_checkpoint(shape: Shape, root: Path) -> Path:
    """The checkpoint directory of `shape` under `root`; the same weights every time, written whole or not at all."""
    home = root / shape.name
    if not home.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".making-") as folder:
            made = Path(folder, "made")
            _write(shape, made)
            shutil.move(made, home)
    return home


def _write(shape: Shape, directory: Path) -> None:
    make_config, make_model = CLASSES[shape.architecture]
    config = make_config(**shape.sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = make_model(config)
    transformers_logging.disable_progress_bar()
    model.save_pretrained(directory)
    _tokenizer().save_pretrained(directory)


def _tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece as BERT's, whose pieces are whole words of our own."""
    vocabulary = {piece: number for number, piece in enumerate((*SPECIAL_TOKENS, *words()))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLASSIFY} $A {SEPARATE}",
        special_tokens=[(name, vocabulary[name]) for name in (CLASSIFY, SEPARATE)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLASSIFY,
        sep_token=SEPARATE,
        mask_token=MASK,
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )
