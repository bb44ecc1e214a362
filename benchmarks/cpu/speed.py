"""The int8 engine against plain transformers in fp32, in one process and on the same threads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.cpu.bench import Bench
from benchmarks.cpu.shapes import Shape
from benchmarks.cpu.texts import texts_of
from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.rounds import Leg, interleave
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.checkpoint.model import load_model
from sluice.runtime.cpu import granted_cores
from sluice.training.evaluation import Predict, torch_predictor
from sluice.worker.execution.backend import Item

BATCH, TOKENS = 16, 64
CALIBRATION = tuple(range(8, 129, 8))
"""Lengths in tokens of the texts whose activations the calibrated graph gets its ranges from."""
TARGET = Target(4.5)
HOW = (
    f"texts per second in batches of {BATCH} texts of {TOKENS} tokens, tokenisation included; int8 is the CPU worker's "
    "own engine, fp32 transformers' model in eager torch with the attention that it chooses; one process, the same "
    "threads, default configuration, random weights"
)
WARM_UP_RUNS = 3


async def measure(bench: Bench) -> list[Figure]:
    """Two figures for each shape: calibrated by `sluice quantize`, and as a worker makes int8 of weights by itself."""
    return [
        figure for shape in (bench.scale.mobilebert, bench.scale.distilbert) for figure in await _pair(bench, shape)
    ]


async def _pair(bench: Bench, shape: Shape) -> list[Figure]:
    stage = f"speed of {shape.name}"
    total = 3 * bench.scale.rounds
    bench.progress(stage, 0, total)
    checkpoint = await bench.checkpoint(shape)
    dice = random.Random(1)
    texts = texts_of([TOKENS] * BATCH, dice)
    packed = await bench.quantized(checkpoint, bits=8, calibration=texts_of(CALIBRATION, dice))
    async with bench.engine(packed) as calibrated, bench.engine(checkpoint) as made:
        eager = await bench.compute(partial(eager_predictor, checkpoint))
        items = [Item(text) for text in texts]
        legs = {
            "calibrated_per_s": await _leg(bench, partial(calibrated.execute, items)),
            "int8_per_s": await _leg(bench, partial(made.execute, items)),
            "fp32_per_s": await _leg(bench, partial(eager, texts)),
        }
        rounds = await interleave(legs, rounds=bench.scale.rounds, tick=lambda done: bench.progress(stage, done, total))
    notes = {"threads": granted_cores(), "calibration_texts": len(CALIBRATION)}
    what = f"int8 / fp32 eager throughput, {shape.name}"
    return [
        ratio_figure(
            f"{what}, calibrated", TARGET, rounds, of="calibrated_per_s", to="fp32_per_s", how=HOW, notes=notes
        ),
        ratio_figure(f"{what}, by itself", TARGET, rounds, of="int8_per_s", to="fp32_per_s", how=HOW, notes=notes),
    ]


async def _leg(bench: Bench, run: Callable[[], object]) -> Leg:
    for _ in range(WARM_UP_RUNS):
        await bench.compute(run)
    return lambda: bench.compute(partial(rate, run, items=BATCH, seconds=bench.scale.seconds))


def eager_predictor(checkpoint: Path) -> Predict:
    """transformers' own model in fp32, on as many threads as the engine takes."""
    torch.set_num_threads(granted_cores())
    model = load_model(checkpoint, dtype=torch.float32)
    return torch_predictor(model, open_checkpoint(checkpoint).tokenizer)


def rate(
    run: Callable[[], object], *, items: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Items per second of `run`, which does `items` at a time: once, and again until `seconds` are over."""
    begun_at = clock()
    count = 0
    while True:
        run()
        count += 1
        elapsed_s = clock() - begun_at
        if elapsed_s >= seconds:
            return count * items / elapsed_s
