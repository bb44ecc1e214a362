"""Fits the router's judgement of complexity to generated messages, and says how well it judges messages held out.

python tools/calibrate_complexity.py [--messages N] [--seed S] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from services.router.scheduling.complexity import (  # noqa: E402
    COMPLEX_FROM,
    FEATURES,
    SHIPPED,
    Weights,
    features,
)
from sluice.training.dataset import generate  # noqa: E402
from sluice.training.grammar import Message  # noqa: E402
from sluice.training.phrasebook import load  # noqa: E402
from sluice.training.plan import MAX_COMPLEXITY  # noqa: E402

SWEEPS = 2_000
HELD_OUT = ("test_seen", "test_held_out")


def fit(messages: Sequence[Message]) -> Weights:
    """Least squares with no weight below nothing, by coordinate descent; only the intercept may be negative."""
    rows = np.array([(1.0, *features(message.text)) for message in messages])
    target = np.array([message.complexity / MAX_COMPLEXITY for message in messages])
    scale = np.maximum(rows.std(axis=0), 1e-9)
    scale[0] = 1.0
    rows /= scale
    gram, moment = rows.T @ rows, rows.T @ target
    weights = np.zeros(len(scale))
    for _ in range(SWEEPS):
        for place in range(len(weights)):
            step = (moment[place] - gram[place] @ weights) / max(gram[place, place], 1e-9)
            weights[place] = weights[place] + step if place == 0 else max(0.0, weights[place] + step)
    found = [float(value) for value in weights / scale]
    return Weights(found[0], tuple(found[1:]))


def accuracy(weights: Weights, messages: Sequence[Message]) -> dict[str, float]:
    """Rank correlation, mean error in steps of complexity and in buckets, and the share of classes that are right."""
    judged = np.array([weights(message.text) for message in messages])
    truth = np.array([message.complexity for message in messages])
    steps = judged * MAX_COMPLEXITY
    is_right = (judged >= COMPLEX_FROM) == (truth >= COMPLEX_FROM * MAX_COMPLEXITY)
    return {
        "spearman": round(float(np.corrcoef(ranks(judged), ranks(truth))[0, 1]), 3),
        "mean_error": round(float(np.abs(steps - truth).mean()), 3),
        "bucket_mean_error": round(float(np.abs(np.round(steps) - truth).mean()), 3),
        "class_accuracy": round(float(is_right.mean()), 3),
    }


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; ties share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranked: np.ndarray = (last - (counts - 1) / 2)[place]
    return ranked


def main() -> None:
    """Fit, write, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=40_000, help="to fit to (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20260101, help="of the messages (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=SHIPPED, help="where the weights go (default: %(default)s)")
    options = parser.parse_args()
    book = load()
    weights = fit(generate("train", options.messages, book=book, seed=options.seed))
    measured = {split: accuracy(weights, generate(split, 4_000, book=book, seed=options.seed)) for split in HELD_OUT}
    content = {
        "intercept": round(weights.intercept, 5),
        "weights": {name: round(value, 5) for name, value in zip(FEATURES, weights.weights, strict=True)},
        "measured": measured,
    }
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
