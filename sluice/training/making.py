"""Making one demo model: build, train, save, quantize, measure what was saved, and write its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sluice.training import checkpoint
from sluice.training.all_experts import compute_all_experts
from sluice.training.card import Measured, Training, write_card, write_quality
from sluice.training.corpus import Tests
from sluice.training.disturbance import Disturbance
from sluice.training.encoding import encode_messages
from sluice.training.evaluation import Predict, judge, measure, onnx_predictor, quality_of, torch_predictor
from sluice.training.grammar import Message
from sluice.training.objective import HardLabels, Imitation, Objective, SoftTargets
from sluice.training.recipe import RECIPES, Recipe
from sluice.training.trainer import Progress, Trainer

INT8_FILE = Path("onnx", "model_int8.onnx")


class CannotMake(RuntimeError):
    """What was asked for cannot be made here; the message says what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What all models of one run have in common."""

    out: Path
    teachers: Path
    """Where a teacher is looked for that is not in `out`."""
    seed: int
    device: torch.device
    precision: str
    """What is computed in; one of precision's PRECISIONS."""
    labels: tuple[str, ...]
    tests: Tests
    messages: int
    """Training messages, as the card reports them."""

    def directory(self, recipe: Recipe) -> Path:
        """Returns where the recipe's model lives."""
        return self.out / recipe.name

    def train(self, recipe: Recipe, messages: Sequence[Message], tokenizer: Any, *, progress: Progress) -> float:
        """Trains a model and saves its checkpoint; returns the seconds that training took."""
        model = checkpoint.build(recipe, tokenizer, self.labels, seed=self.seed)
        compute_all_experts(model, self.device)
        trainer = Trainer(
            model,
            self._objective(recipe, tokenizer),
            encode_messages(messages, tokenizer, self.labels),
            recipe.course(self.seed),
            device=self.device,
            precision=self.precision,
        )
        trainer.run(progress)
        checkpoint.save(model.cpu(), tokenizer, self.directory(recipe))
        return trainer.seconds

    def teacher(self, recipe: Recipe) -> Path | None:
        """Returns where the recipe's teacher is, or None if it has none; raises CannotMake when it is not there."""
        if recipe.taught is None:
            return None
        name = RECIPES[recipe.taught.teacher].name
        for place in (self.out / name, self.teachers / name):
            if (place / "config.json").is_file():
                return place
        raise CannotMake(f"{recipe.name} learns from {name}, which is not in {self.out}: make that first")

    def _objective(self, recipe: Recipe, tokenizer: Any) -> Objective:
        disturb = Disturbance(vocabulary=len(tokenizer), mask_id=tokenizer.mask_token_id)
        place, taught = self.teacher(recipe), recipe.taught
        if place is None or taught is None:
            return HardLabels(disturb)
        teacher, _ = checkpoint.load(place)
        if tuple(teacher.config.id2label[index] for index in range(len(self.labels))) != self.labels:
            raise CannotMake(f"{place} knows other labels than the texts have: make it anew")
        compute_all_experts(teacher, self.device)
        soft = SoftTargets(temperature=taught.temperature, alpha=taught.alpha)
        return Imitation(teacher.to(self.device), [soft], disturb=disturb)

    def finish(self, key: str, recipe: Recipe) -> Measured:
        """Quantizes where the recipe says so, measures the saved files on the CPU, writes quality.json and the card.

        `key` is the model's name in commands: full, light or quantized.
        """
        directory = self.directory(recipe)
        if recipe.int8:
            # Training itself needs neither ONNX nor what the engine is made of.
            from sluice.engine.onnx.export import export_int8

            export_int8(directory, directory / INT8_FILE)
        measured, parameters = self._measure(recipe, directory)
        training = Training(
            seed=self.seed,
            steps=recipe.steps,
            messages=self.messages,
            parameters=parameters,
            precision=self.precision,
            device=self.device.type,
        )
        write_quality(directory, recipe, measured, training)
        write_card(directory, key, recipe, measured, training)
        return measured

    def _measure(self, recipe: Recipe, directory: Path) -> tuple[Measured, int]:
        model, tokenizer = checkpoint.load(directory)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        plain = torch_predictor(model, tokenizer)
        if not recipe.int8:
            return self._measured(plain), parameters
        served = self._measured(onnx_predictor(directory / INT8_FILE, tokenizer))
        fp32 = measure(plain, self.tests.all, self.labels)
        return Measured(
            seen=served.seen, held_out=served.held_out, overall=served.overall, fp32_overall=fp32
        ), parameters

    def _measured(self, predict: Predict) -> Measured:
        seen, held_out = (judge(predict, part, self.labels) for part in (self.tests.seen, self.tests.held_out))
        return Measured(
            seen=quality_of(seen, self.tests.seen),
            held_out=quality_of(held_out, self.tests.held_out),
            overall=quality_of(np.concatenate((seen, held_out)), self.tests.all),
        )
