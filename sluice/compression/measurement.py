"""How large, how fast and how right a model is, before and after."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sluice.compression.examples import Examples
from sluice.training.evaluation import Predict

BATCH_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """`size_bytes` is that of all weights; speed and accuracy, from 0 to 1, are None where nothing was evaluated."""

    precision: str
    runtime: str
    size_bytes: int
    items_per_s: float | None = None
    accuracy: float | None = None


def evaluate(predict: Predict, examples: Examples, *, on_text: Callable[[int], None]) -> tuple[float, float]:
    """Texts per second and accuracy of `predict`, asked in batches of BATCH_SIZE in the order of the examples.

    The time includes reading the texts into tokens; of the batches' speeds the median is given, because other programs
    may hold a batch up. The first batch is asked once more beforehand, untimed.
    """
    texts = examples.texts
    predict(texts[:BATCH_SIZE])
    answers: list[int] = []
    speeds: list[float] = []
    for start in range(0, len(texts), BATCH_SIZE):
        began = time.perf_counter()
        batch = predict(texts[start : start + BATCH_SIZE]).tolist()
        speeds.append(len(batch) / (time.perf_counter() - began))
        answers += batch
        on_text(len(answers))
    right = np.array(answers) == np.array(examples.truth)
    return statistics.median(speeds), float(right.mean())
