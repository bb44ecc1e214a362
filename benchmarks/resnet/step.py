"""A training step on random images: how long it takes, and what it holds of the device's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.gpu.arithmetic import kernels_by_trial
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.device import warm
from benchmarks.gpu.meter import Meter, meter_of
from benchmarks.resnet.learner import Learner, Way, make_model, ways

TARGET = Target(4.0)
BATCH, SIZE, CHANNELS, LABELS = 64, 224, 3, 1000
SMOKE_BATCH, SMOKE_SIZE = 2, 32
REPEATS = 3
SEED = 20260101
HOW = (
    "forward, backward, clipping and fused AdamW on 64 random images of 224 x 224, captured as one graph on all sides, "
    "kernels chosen by trial (cudnn.benchmark); fp32 is true fp32, in the faster of both memory layouts"
)
MEMORY_HOW = "the most that torch allocates in such a step, launched operation by operation: weights and all"


def measure(bench: Bench) -> list[Figure]:
    """Mixed against fp32, in time and memory; TF32 against fp32 without a target."""
    batch, size = (SMOKE_BATCH, SMOKE_SIZE) if bench.smoke else (BATCH, SIZE)
    images = torch.randn(batch, CHANNELS, size, size, device=bench.device)
    labels = torch.randint(0, LABELS, (batch,), device=bench.device)
    meter = meter_of(bench.device)
    steps: dict[str, Callable[[], object]] = {}
    memory: dict[str, float] = {}
    with kernels_by_trial():
        for name, way in ways(bench).items():
            bench.tell(f"training step, {name}: warming up")
            learner, held = _learner(bench, meter, way, images, labels)
            memory[f"{name}_mib"] = held / 2**20
            steps[f"{name}_ms"] = bench.captured(learner.step)
        bench.tell("training step: measuring")
        rounds = bench.time_in_turn(steps, repeats=REPEATS)
    medians = rounds.medians()
    plain = min(("fp32_ms", "fp32_channels_last_ms"), key=lambda name: medians[name])
    notes: dict[str, Any] = {
        "baseline": plain,
        "precision": ways(bench)["mixed"].precision,
        "graphs": bench.graphs,
        "images_per_s": {name: round(batch / value * 1000, 1) for name, value in medians.items()},
    }
    what = "training step, times as fast as fp32"
    return [
        ratio_figure(f"{what}: mixed", TARGET, rounds, of=plain, to="mixed_ms", how=HOW, notes=notes),
        ratio_figure(f"{what}: TF32", None, rounds, of=plain, to="tf32_ms", how=HOW, notes=notes),
        Figure(
            what="training step, memory of mixed as a part of fp32's",
            target=None,
            measured=memory["mixed_mib"] / memory["fp32_mib"],
            how=MEMORY_HOW,
            medians=memory,
        ),
    ]


def _learner(bench: Bench, meter: Meter, way: Way, images: torch.Tensor, labels: torch.Tensor) -> tuple[Learner, int]:
    """A learner, and the most bytes that it takes for a step."""
    with meter.watching():
        before = meter.allocated()
        model = make_model(bench, channels=CHANNELS, labels=LABELS, seed=SEED)
        learner = Learner(bench, model, way, images=images, labels=labels)
        warm(learner.step, bench.device)
        most, _ = meter.peak(learner.step)
    return learner, most - before
