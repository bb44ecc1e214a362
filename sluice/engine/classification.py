"""From logits to labels: softmax over the head, the best label, and the runners-up who are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sluice.worker.backend import Classified, Item, Output


def classify(
    logits: NDArray[np.float32],
    items: Sequence[Item],
    places: Sequence[int],
    labels: Sequence[str],
    outputs: list[Output | None],
) -> None:
    """Write one Classified into `outputs` for each row of `logits` (rows, labels), which belong to `places`."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    best = probabilities.argmax(axis=1)
    scores = probabilities[np.arange(len(best)), best].tolist()
    for row, (place, index, score) in enumerate(zip(places, best.tolist(), scores, strict=True)):
        top_k = min(items[place].top_k, len(labels))
        runners: tuple[tuple[str, float], ...] = ()
        if top_k:
            order = np.argsort(-probabilities[row], kind="stable")[:top_k].tolist()
            runners = tuple((labels[one], float(probabilities[row, one])) for one in order)
        outputs[place] = Classified(labels[index], score, runners)
