"""From logits to labels: probabilities of the head, the best label, and the runners-up who are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sluice.engine.checkpoint import Checkpoint
from sluice.errors import WorkerFailed
from sluice.worker.backend import Classified, Item, Output


def classify(
    logits: NDArray[np.float32],
    items: Sequence[Item],
    places: Sequence[int],
    checkpoint: Checkpoint,
    outputs: list[Output | None],
) -> None:
    """Write one output into `outputs` for each row of `logits` (rows, labels), which belong to `places`.

    A row that is not finite is WorkerFailed: half precision overflowed, and its label would be any.
    """
    labels = checkpoint.labels
    finite = np.isfinite(logits.sum(axis=1))
    probabilities = probabilities_of(logits, multi_label=checkpoint.multi_label)
    best = probabilities.argmax(axis=1)
    scores = probabilities[np.arange(len(best)), best].tolist()
    for row, (place, index, score) in enumerate(zip(places, best.tolist(), scores, strict=True)):
        if not finite[row]:
            outputs[place] = WorkerFailed("the model computed no number for this text; its precision may be too low")
            continue
        top_k = min(items[place].top_k, len(labels))
        runners: tuple[tuple[str, float], ...] = ()
        if top_k:
            order = np.argsort(-probabilities[row], kind="stable")[:top_k].tolist()
            runners = tuple((labels[one], float(probabilities[row, one])) for one in order)
        outputs[place] = Classified(labels[index], score, runners)


def probabilities_of(logits: NDArray[np.float32], *, multi_label: bool) -> NDArray[np.float32]:
    """Softmax over each row, or the logistic function of each value where labels do not exclude each other."""
    with np.errstate(over="ignore", invalid="ignore"):
        if multi_label:
            shares: NDArray[np.float32] = np.reciprocal(1 + np.exp(-logits))
        else:
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares = shifted / shifted.sum(axis=1, keepdims=True)
    return shares
