"""What mixed precision costs in accuracy: the same network learns handwritten digits from nothing, in fp32 and mixed.

Source of the images: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), the 1,797
images of 8 x 8 that scikit-learn brings along. Every image is asked of a network that did not learn from it
(cross-validation), and both sides have the same weights to begin with and see the same images in the same order.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from benchmarks.figure import Figure, Target
from benchmarks.gpu.arithmetic import kernels_by_trial
from benchmarks.gpu.bench import Bench
from benchmarks.resnet.learner import Learner, Way, make_model, ways

TARGET = Target(0.3, at_most=True)
SIZE = 32
LABELS = 10
RATE = 1e-3
WARM_UP_SHARE = 0.2
HOW = (
    "points of accuracy, in hundredths, that mixed loses against fp32: scikit-learn's digits, upscaled to 32 x 32, "
    "five-fold cross-validation, so many times with other folds and weights; AdamW, {epochs} epochs from nothing; "
    "trained and asked in the same precision; the spread is that of the repetitions, each over all 1,797 images"
)


@dataclass(frozen=True, slots=True)
class Course:
    """How much is learned."""

    images: int
    folds: int
    repetitions: int
    epochs: int
    batch: int


FULL = Course(images=1797, folds=5, repetitions=1, epochs=16, batch=128)
SMOKE = Course(images=64, folds=2, repetitions=1, epochs=1, batch=8)


def measure(bench: Bench) -> list[Figure]:
    """The loss of accuracy; without a graph of the step it takes ten times as long."""
    course = SMOKE if bench.smoke else FULL
    images, labels = _digits(bench, course)
    compared = {name: way for name, way in ways(bench).items() if name in ("fp32", "mixed")}
    accuracies: dict[str, list[float]] = {}
    bench.tell("digits: the weights to begin with")
    beginnings = [
        make_model(bench, channels=1, labels=LABELS, seed=seed).state_dict()
        for seed in range(course.repetitions * course.folds)
    ]
    with kernels_by_trial():
        for name, way in compared.items():
            bench.tell(f"digits in {name}: {course.repetitions} x {course.folds} networks of {course.epochs} epochs")
            accuracies[name] = _accuracies(bench, way, course, beginnings, images, labels)
    lost = [fp32 - mixed for fp32, mixed in zip(accuracies["fp32"], accuracies["mixed"], strict=True)]
    return [
        Figure(
            what="points of accuracy lost on digits, mixed against fp32",
            target=TARGET,
            measured=statistics.fmean(lost),
            how=HOW.format(epochs=course.epochs),
            medians={f"{name}_accuracy": statistics.median(values) for name, values in accuracies.items()},
            spread=(min(lost), max(lost)),
            notes={
                "accuracies": {name: [round(one, 2) for one in values] for name, values in accuracies.items()},
                "networks": course.folds * course.repetitions,
                "precision": compared["mixed"].precision,
            },
        )
    ]


def _digits(bench: Bench, course: Course) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, number x 1 x SIZE x SIZE around nought, and labels. Raises ModuleNotFoundError without scikit-learn."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.tensor(bunch.images[: course.images], dtype=torch.float32, device=bench.device).unsqueeze(1)
    labels = torch.tensor(bunch.target[: course.images], device=bench.device)
    return functional.interpolate(small / 16 - 0.5, size=SIZE, mode="bilinear"), labels


def _accuracies(
    bench: Bench,
    way: Way,
    course: Course,
    beginnings: Sequence[dict[str, torch.Tensor]],
    images: torch.Tensor,
    labels: torch.Tensor,
) -> list[float]:
    """Per repetition, the share of all images that are told right, in hundredths."""
    model = make_model(bench, channels=1, labels=LABELS, seed=0)
    learner = Learner(bench, model, way, images=images[: course.batch], labels=labels[: course.batch])
    step = bench.captured(learner.step)
    accuracies = []
    for repetition in range(course.repetitions):
        right = 0
        for fold, asked in enumerate(_folds(course, repetition)):
            seed = repetition * course.folds + fold
            learner.restart(beginnings[seed])
            learned_from = torch.ones(len(labels), dtype=torch.bool)
            learned_from[asked] = False
            for rate, rows in _lessons(learned_from.nonzero().flatten(), course, seed):
                learner.rate.fill_(rate)
                chosen = rows.to(bench.device)
                learner.images.copy_(images[chosen])
                learner.labels.copy_(labels[chosen])
                step()
            chosen = asked.to(bench.device)
            right += int((learner.predict(images[chosen]) == labels[chosen]).sum())
        accuracies.append(100 * right / len(labels))
    return accuracies


def _folds(course: Course, seed: int) -> tuple[torch.Tensor, ...]:
    """The rows of each part of the images."""
    return torch.randperm(course.images, generator=torch.Generator().manual_seed(seed)).chunk(course.folds)


def _lessons(rows: torch.Tensor, course: Course, seed: int) -> Iterator[tuple[float, torch.Tensor]]:
    """The learning rate, after a warm-up down to nought, and the rows of each batch; an epoch leaves no batch short."""
    dice = torch.Generator().manual_seed(seed)
    batches = len(rows) // course.batch
    steps, number = course.epochs * batches, 0
    for _ in range(course.epochs):
        shuffled = rows[torch.randperm(len(rows), generator=dice)]
        for batch in shuffled[: batches * course.batch].split(course.batch):
            yield RATE * _share(number, steps), batch
            number += 1


def _share(step: int, steps: int) -> float:
    warm_up = WARM_UP_SHARE * steps
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
