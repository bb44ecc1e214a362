"""Teachers in little: random models that are deeper than those of the engine's tests, and texts for them to judge."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from tests.unit.engine import tiny

LAYERS = 5
_WORDS = " ".join(tiny.TEXTS).split()


def write(
    directory: Path, architecture: str = "distilbert", *, base: bool = False, seed: int = 0, **settings: Any
) -> Path:
    """Write a teacher of LAYERS layers, without a head if `base`. Returns `directory`."""
    words = tiny.tokenizer()
    labels = {"id2label": dict(enumerate(tiny.LABELS)), "label2id": {label: at for at, label in enumerate(tiny.LABELS)}}
    common = {
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "max_position_embeddings": tiny.LONGEST,
        "initializer_range": 0.15,
        **({} if base else labels),
    }
    config = tiny.ARCHITECTURES[architecture](common)
    for key, value in {"num_hidden_layers": LAYERS, **settings}.items():
        setattr(config, key, value)
    if getattr(config, "layer_types", None):
        config.layer_types = ["full_attention"] * LAYERS
    torch.manual_seed(seed)
    model = (AutoModel if base else AutoModelForSequenceClassification).from_config(config)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


def sentences(count: int, *, seed: int = 0) -> list[str]:
    """So many texts of three to twelve words, no two alike."""
    rng = Random(seed)
    made: dict[str, None] = {}
    while len(made) < count:
        made[" ".join(rng.choices(_WORDS, k=rng.randint(3, 12)))] = None
    return list(made)


def write_lines(file: Path, texts: list[str]) -> Path:
    """Write a text a line."""
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return file


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a JSON object a line."""
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def labelled(texts: list[str], *, complexity: bool = True) -> list[dict[str, Any]]:
    """The texts with labels and complexities in turn."""
    rows: list[dict[str, Any]] = [{"text": text, "label": tiny.LABELS[at % 4]} for at, text in enumerate(texts)]
    return [{**row, "complexity": at % 8} for at, row in enumerate(rows)] if complexity else rows
