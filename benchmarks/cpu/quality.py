"""What fewer bits cost the demo's models: accuracy on the labelled test messages that their cards are measured on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cpu.bench import MODELS, Bench
from benchmarks.figure import Figure, Target
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.checkpoint.model import load_model
from sluice.training import corpus, phrasebook
from sluice.training.evaluation import Predict, judge, torch_predictor
from sluice.training.grammar import Message
from sluice.worker.execution.backend import Backend, Classification, Item

LIGHT, QUANTIZED = MODELS / "support-intent-light", MODELS / "support-intent-quantized"
INT8_TARGET, INT4_TARGET = Target(0.5, at_most=True), Target(2.0, at_most=True)
HOW = (
    "points of accuracy, fp32 less {precision}, on the seeded test messages of the model's card; fp32: transformers in "
    "torch; {precision}: {origin}, computed by the CPU worker's own engine"
)
BY_COMMAND = "what sluice quantize makes of the same checkpoint"
SHIPPED = "what the checkpoint ships, or the engine makes of it"


async def measure_int8(bench: Bench) -> list[Figure]:
    """A figure for the light model, quantized here, and one for the quantized model as it is shipped."""
    made = await bench.quantized(LIGHT, bits=8)
    return [
        await lost(bench, LIGHT, made, target=INT8_TARGET, origin=BY_COMMAND),
        await lost(bench, QUANTIZED, QUANTIZED, target=INT8_TARGET, origin=SHIPPED),
    ]


async def measure_int4(bench: Bench) -> list[Figure]:
    """The figure of the light model."""
    made = await bench.quantized(LIGHT, bits=4)
    return [await lost(bench, LIGHT, made, target=INT4_TARGET, origin=BY_COMMAND)]


async def lost(bench: Bench, plain: Path, quantized: Path, *, target: Target, origin: str) -> Figure:
    """The figure of `quantized` against the fp32 weights of `plain`."""
    stage = f"quality of {quantized.stem}"
    bench.progress(stage, 0, 2)
    messages = await bench.compute(partial(_messages, plain, bench.scale.corpus))
    labels = open_checkpoint(plain).labels
    before = await bench.compute(lambda: judge(_fp32(plain), messages, labels))
    bench.progress(stage, 1, 2)
    async with bench.engine(quantized) as backend:
        after = await bench.compute(lambda: judge(_by_engine(backend, labels), messages, labels))
    bench.progress(stage, 2, 2)
    points, error = points_lost(before, after)
    precision = backend.variant.precision
    return Figure(
        what=f"points of quality lost by {precision}, {plain.name}",
        target=target,
        measured=points,
        how=HOW.format(precision=precision, origin=origin),
        medians={"fp32_accuracy": float(before.mean()), f"{precision}_accuracy": float(after.mean())},
        spread=(points - error, points + error),
        notes={"messages": len(messages), "spread": "one standard error of the paired difference to either side"},
    )


def points_lost(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """By how many points fewer are right, and the standard error of that: the answers are in pairs (McNemar, 1947)."""
    difference = before.astype(int) - after.astype(int)
    return 100 * float(difference.mean()), 100 * float(difference.std()) / math.sqrt(len(difference))


def _messages(model: Path, scale: float) -> Sequence[Message]:
    card = json.loads((model / "quality.json").read_text(encoding="utf-8"))
    return corpus.draw_tests(phrasebook.load(), card["training_seed"], scale=scale).all


def _fp32(checkpoint: Path) -> Predict:
    model = load_model(checkpoint, dtype=torch.float32)
    return torch_predictor(model, open_checkpoint(checkpoint).tokenizer)


def _by_engine(backend: Backend, labels: Sequence[str]) -> Predict:
    places = {label: place for place, label in enumerate(labels)}

    def predict(texts: Sequence[str]) -> NDArray[np.int64]:
        # Cut as the fp32 model's tokenizer does it.
        outputs = backend.execute([Item(text, truncate=True) for text in texts])
        return np.array([places[output.label] for output in outputs if isinstance(output, Classification)])

    return predict
