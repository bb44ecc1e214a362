"""What plain transformers says in fp32, one text at a time, with nothing of Sluice between: the yardstick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def probabilities(checkpoint: Path, texts: Sequence[str], *, multi_label: bool = False) -> list[list[float]]:
    """A row of label probabilities for each text, unpadded, in the head's order."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rows = []
    with torch.inference_mode():
        for text in texts:
            logits = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits[0]
            rows.append((logits.sigmoid() if multi_label else logits.softmax(-1)).tolist())
    return rows
