"""The training loop: AdamW, warm-up then cosine decay, and a state from which it goes on bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from sluice.training.encoding import Encoded, shuffled_rows
from sluice.training.expert_balance import ExpertBalance
from sluice.training.objective import Objective
from sluice.training.precision import MixedPrecision

_WARMUP_SHARE = 0.05
_FINAL_SHARE = 0.02
# Reading a number of an accelerator waits until it has computed everything.
_STEPS_BETWEEN_READINGS = 50

Progress = Callable[[int, float | None], None]
"""Called after each step with the number of steps done and the loss, which is None between two readings of a device."""


class Diverged(ArithmeticError):
    """The loss is no number any more, so that nothing more can be learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long and how fast a model learns; `seed` decides the order of texts and what is left to chance."""

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.01


class Trainer:
    """Takes `model` through `course`, on `device`; between two steps it can stop, and another one goes on from there.

    The same course on the same machine gives the same weights on a CPU, whether it was stopped or not.
    """

    def __init__(
        self, model: Any, objective: Objective, data: Encoded, course: Course, *, device: torch.device, precision: str
    ) -> None:
        torch.manual_seed(course.seed)
        self._model = model.to(device).train()
        self._objective = objective
        self._data = data.on(device)
        self._course = course
        self._device = device
        self._arithmetic = MixedPrecision(precision, device)
        self._optimizer = _optimizer(model, course, device)
        self._sound = torch.ones((), dtype=torch.bool, device=device)
        self.step = 0
        self.seconds = 0.0

    def run(self, progress: Progress, *, pause: Callable[[], bool] = lambda: False) -> bool:
        """Take the steps that are left, or until `pause`, asked after each, says so; returns whether all are taken.

        The model is then in evaluation mode. Raises Diverged when the loss is no number.
        """
        course = self._course
        rows = shuffled_rows(self._data, course.batch_size, Random(course.seed))  # noqa: S311 - order, no secret
        batches = islice(rows, self.step, course.steps)
        balance = ExpertBalance(self._model)
        self._model.train()
        try:
            for chosen in batches:
                began = time.monotonic()
                loss = self._take(chosen)
                balance.step()
                self.step += 1
                reading = self._read(loss)
                self.seconds += time.monotonic() - began
                progress(self.step, reading)
                if pause():
                    break
        finally:
            balance.close()
            self._model.eval()
        return self.step == course.steps

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as tensors and plain containers. Raises Diverged before it gives broken weights."""
        self._check()
        return {
            "step": self.step,
            "seconds": self.seconds,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "arithmetic": self._arithmetic.state(),
            "chance": [torch.get_rng_state(), *([self._device_chance()] if self._device.type != "cpu" else [])],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the `state` of a trainer of the same model, course and kind of device."""
        self.step, self.seconds = state["step"], state["seconds"]
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._arithmetic.restore(state["arithmetic"])
        torch.set_rng_state(state["chance"][0])
        if self._device.type != "cpu":
            torch.get_device_module(self._device).set_rng_state(state["chance"][1], self._device)

    def _take(self, rows: Tensor) -> Tensor:
        """One step; the loss stays on the device."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._course.learning_rate * _share(self.step, self._course.steps)
        batch = self._data.batch(rows)
        with self._arithmetic.autocast():
            loss = self._objective(self._model, batch)
        self._sound &= loss.detach().isfinite()
        self._arithmetic.step(loss, self._model, self._optimizer)
        return loss.detach()

    def _read(self, loss: Tensor) -> float | None:
        due = self._device.type == "cpu" or self.step % _STEPS_BETWEEN_READINGS == 0 or self.step == self._course.steps
        if not due:
            return None
        self._check()
        return loss.item()

    def _check(self) -> None:
        # A step that overflowed in fp16 was left out, and does no harm unless all are.
        broken = self._arithmetic.is_exhausted() if self._arithmetic.scales else not self._sound.item()
        if broken:
            raise Diverged(
                f"the loss is no number after {self.step} steps; take a lower learning rate, or compute in fp32"
            )

    def _device_chance(self) -> Tensor:
        chance: Tensor = torch.get_device_module(self._device).get_rng_state(self._device)
        return chance


def _optimizer(model: nn.Module, course: Course, device: torch.device) -> torch.optim.Optimizer:
    """AdamW, in one kernel on an accelerator that has it."""
    make = partial(torch.optim.AdamW, lr=course.learning_rate, betas=(0.9, 0.98))
    groups = _groups(model, course.weight_decay)
    if device.type == "cpu":
        return make(groups)
    try:
        return make(groups, fused=True)
    except RuntimeError:
        return make(groups)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _share(step: int, steps: int) -> float:
    """The part of the learning rate that a step is taken with."""
    warmup = max(1, int(steps * _WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return _FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))
