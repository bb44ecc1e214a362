"""What plain transformers says in fp32, one text at a time, with nothing of Sluice between: the yardstick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

# The textbook's formulae for the (tokens, width) hidden states of one text without padding.
POOLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cls": lambda hidden: hidden[0],
    "max": lambda hidden: hidden.max(0),
    "mean": lambda hidden: hidden.mean(0),
    "mean_sqrt_len": lambda hidden: hidden.sum(0) / np.sqrt(len(hidden)),
    "weightedmean": lambda hidden: np.average(hidden, axis=0, weights=np.arange(1, len(hidden) + 1)),
    "lasttoken": lambda hidden: hidden[-1],
}


def probabilities(checkpoint: Path, texts: Sequence[str], *, multi_label: bool = False) -> list[list[float]]:
    """A row of label probabilities for each text, unpadded, in the head's order."""
    rows = []
    for output in _outputs(AutoModelForSequenceClassification, checkpoint, texts):
        logits = output.logits[0]
        rows.append((logits.sigmoid() if multi_label else logits.softmax(-1)).tolist())
    return rows


def embeddings(checkpoint: Path, texts: Sequence[str], *modes: str) -> np.ndarray:
    """A row for each text: its unpadded hidden states pooled by each of `modes`, one after the other."""
    rows = []
    for output in _outputs(AutoModel, checkpoint, texts):
        hidden = output.last_hidden_state[0].numpy().astype(np.float64)
        rows.append(np.concatenate([POOLINGS[mode](hidden) for mode in modes]))
    return np.stack(rows)


def _outputs(kind: Any, checkpoint: Path, texts: Sequence[str]) -> Iterator[Any]:
    model = kind.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with torch.inference_mode():
        for text in texts:
            yield model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
