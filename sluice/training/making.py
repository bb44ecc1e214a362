"""Making one demo model: build, train, save, quantize, measure what was saved, and write its card."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sluice.engine.onnx_export import export_int8
from sluice.training import checkpoint
from sluice.training.card import Measured, Training, write_card, write_quality
from sluice.training.corpus import Tests
from sluice.training.encoding import encode
from sluice.training.evaluation import Predict, measure, onnx_predictor, torch_predictor
from sluice.training.grammar import Message
from sluice.training.recipe import RECIPES, Recipe
from sluice.training.trainer import Progress, train

INT8_FILE = Path("onnx", "model_int8.onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What all models of one run have in common."""

    out: Path
    seed: int
    device: torch.device
    labels: tuple[str, ...]
    tests: Tests
    messages: int
    """Training messages, as the card reports them."""

    def directory(self, key: str) -> Path:
        """Returns where the model `key` (full, light or quantized) lives."""
        return self.out / RECIPES[key].name

    def train(self, key: str, messages: Sequence[Message], tokenizer: Any, *, steps: int, progress: Progress) -> float:
        """Trains a model and saves its checkpoint; returns the seconds that training took."""
        recipe = RECIPES[key]
        model = checkpoint.build(recipe, tokenizer, self.labels, seed=self.seed)
        data = encode(messages, tokenizer, self.labels)
        began = time.monotonic()
        train(
            model,
            recipe,
            data,
            device=self.device,
            steps=steps,
            seed=self.seed,
            mask_id=tokenizer.mask_token_id,
            progress=progress,
        )
        took_s = time.monotonic() - began
        checkpoint.save(model.cpu(), tokenizer, self.directory(key))
        return took_s

    def finish(self, key: str, *, steps: int) -> Measured:
        """Quantizes where the recipe says so, measures the saved files on the CPU, writes quality.json and the card."""
        recipe = RECIPES[key]
        directory = self.directory(key)
        if recipe.int8:
            export_int8(directory, directory / INT8_FILE)
        measured, parameters = self._measure(recipe, directory)
        training = Training(seed=self.seed, steps=steps, messages=self.messages, parameters=parameters)
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
        return Measured(
            seen=measure(predict, self.tests.seen, self.labels),
            held_out=measure(predict, self.tests.held_out, self.labels),
            overall=measure(predict, self.tests.all, self.labels),
        )
