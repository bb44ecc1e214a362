"""Measured quality: the share of messages labelled rightly, overall, by complexity, by split and by language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sluice.training.grammar import Message
from sluice.training.plan import MAX_COMPLEXITY

Predict = Callable[[Sequence[str]], NDArray[np.int64]]
"""Returns the index of the likeliest label of each text."""

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Accuracy of one model on the messages it was asked about; buckets are complexities 0 to 7."""

    accuracy: float
    examples: int
    by_complexity: tuple[float, ...]
    examples_by_complexity: tuple[int, ...]
    by_language: dict[str, float]


def torch_predictor(model: Any, tokenizer: Any, device: torch.device | None = None) -> Predict:
    """Returns the predictor of a transformers classifier, on the CPU unless told otherwise."""
    place = device or torch.device("cpu")
    model.to(place).eval()

    def predict(texts: Sequence[str]) -> NDArray[np.int64]:
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(place)
        with torch.inference_mode():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        answers: NDArray[np.int64] = logits.argmax(-1).cpu().numpy()
        return answers

    return predict


def onnx_predictor(file: Path, tokenizer: Any, *, threads: int = 1) -> Predict:
    """Returns the predictor of an ONNX classifier that takes int64 input_ids and attention_mask, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def predict(texts: Sequence[str]) -> NDArray[np.int64]:
        batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="np")
        feed = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        answers: NDArray[np.int64] = session.run(["logits"], feed)[0].argmax(-1)
        return answers

    return predict


def predictions(predict: Predict, texts: Sequence[str]) -> NDArray[np.int64]:
    """Returns the predicted label index of every text, asked in batches of like length."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index].encode()))
    answers = np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        answers[rows] = predict([texts[row] for row in rows])
    return answers


def measure(predict: Predict, messages: Sequence[Message], labels: Sequence[str]) -> Quality:
    """Returns the quality of `predict` on the messages; a bucket without messages has accuracy NaN."""
    return quality_of(judge(predict, messages, labels), messages)


def judge(predict: Predict, messages: Sequence[Message], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Returns whether `predict` labels each message rightly."""
    truth = np.array([labels.index(message.label) for message in messages])
    right: NDArray[np.bool_] = predictions(predict, [message.text for message in messages]) == truth
    return right


def quality_of(right: NDArray[np.bool_], messages: Sequence[Message]) -> Quality:
    """Returns the quality of a judgement on the messages; a bucket without messages has accuracy NaN."""
    complexity = np.array([message.complexity for message in messages])
    language = np.array([message.language for message in messages])
    buckets = [right[complexity == bucket] for bucket in range(MAX_COMPLEXITY + 1)]
    return Quality(
        accuracy=_share(right),
        examples=len(messages),
        by_complexity=tuple(_share(bucket) for bucket in buckets),
        examples_by_complexity=tuple(len(bucket) for bucket in buckets),
        by_language={str(name): _share(right[language == name]) for name in sorted(set(language))},
    )


def _share(right: NDArray[np.bool_]) -> float:
    return round(float(right.mean()), 4) if right.size else float("nan")
