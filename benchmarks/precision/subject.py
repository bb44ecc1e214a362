"""A model that is measured: the demo's own, whose answers can be judged, or one as large as those that people run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForSequenceClassification
from transformers import logging as transformers_logging

from sluice.training import corpus, phrasebook
from sluice.training.grammar import Message

MODELS = Path(__file__).resolve().parents[2] / "models"
DEMO, LARGE = "support-intent-full", "qwen2-1.5b"
# The sizes of DeepSeek-R1-Distill-Qwen-1.5B, with a head for fifteen labels.
LARGE_SIZES = {
    "vocab_size": 151_936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "num_labels": 15,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch that is timed: so many texts of so many tokens."""

    texts: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.texts}×{self.tokens}"


@dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint, the batches that are timed on it, and the labelled messages that it is judged by, if any."""

    name: str
    checkpoint: Path
    shapes: tuple[Shape, ...]
    messages: Sequence[Message] = ()


def demo(scale: float, device: torch.device) -> Subject:
    """The demo's full model and the test messages of its card, or a part of them."""
    checkpoint = MODELS / DEMO
    card = json.loads((checkpoint / "quality.json").read_text(encoding="utf-8"))
    messages = corpus.draw_tests(phrasebook.load(), card["training_seed"], scale=scale).all
    shapes = (Shape(1, 32), Shape(16, 32)) if device.type == "cpu" else (Shape(1, 32), Shape(32, 32), Shape(128, 64))
    return Subject(DEMO, checkpoint, shapes, messages)


def large(scratch: Path, device: torch.device) -> Subject:
    """Random weights in bf16, as published checkpoints are, made on `device` and written below `scratch`."""
    transformers_logging.disable_progress_bar()
    with torch.device(device), torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        try:
            model = Qwen2ForSequenceClassification(Qwen2Config(**LARGE_SIZES))
        finally:
            torch.set_default_dtype(torch.float32)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(scratch / LARGE)
    return Subject(LARGE, scratch / LARGE, (Shape(1, 1), Shape(32, 1), Shape(1, 512), Shape(8, 512)))
