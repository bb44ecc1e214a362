"""Making a chat model: build, train, save, measure what was saved, and write its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sluice.training.all_experts import compute_all_experts
from sluice.training.card import Training
from sluice.training.chat import chat_checkpoint
from sluice.training.chat.chat_card import ChatMeasured, write_card, write_quality
from sluice.training.chat.chat_corpus import ChatTests
from sluice.training.chat.evaluation import greedy_writer, judge, perplexity, quality_of, tokens_of
from sluice.training.chat.recipe import CHAT_RECIPES
from sluice.training.chat.reply_loss import NextToken, SoftReply
from sluice.training.encoding import Encoded
from sluice.training.making import CannotMake
from sluice.training.objective import Imitation, Objective
from sluice.training.recipe import Recipe
from sluice.training.trainer import Progress, Trainer

_READINGS = 8

Watch = Callable[[int, float], None]
"""Called with the number of steps done and the perplexity on validation replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMaking:
    """What both models of one run have in common."""

    out: Path
    teachers: Path
    """Where a teacher is looked for that is not in `out`."""
    seed: int
    device: torch.device
    """Where models learn and are measured."""
    precision: str
    """What learning computes in; one of precision's PRECISIONS."""
    tests: ChatTests
    conversations: int
    """How many the training split has."""
    max_new_tokens: int
    """After which a reply that is measured counts as one without an end."""

    def directory(self, recipe: Recipe) -> Path:
        """Returns where the recipe's model lives."""
        return self.out / recipe.name

    def teacher(self, recipe: Recipe) -> Path | None:
        """Returns where the recipe's teacher is, or None if it has none; raises CannotMake when it is not there."""
        if recipe.taught is None:
            return None
        name = CHAT_RECIPES[recipe.taught.teacher].name
        for place in (self.out / name, self.teachers / name):
            if (place / "config.json").is_file():
                return place
        raise CannotMake(f"{recipe.name} learns from {name}, which is not in {self.out}: make that first")

    def read_by(self, recipe: Recipe) -> int:
        """Returns how many conversations the recipe's model reads: all, or those that its batches have room for."""
        return min(self.conversations, recipe.steps * recipe.batch_size)

    def train(self, recipe: Recipe, data: Encoded, tokenizer: Any, *, progress: Progress, watch: Watch) -> float:
        """Trains a model and saves its checkpoint; returns the seconds that training took.

        `watch` is told the validation perplexity eight times on the way.
        """
        model, objective = self._beginning(recipe, tokenizer)
        course = recipe.course(self.seed)
        trainer = Trainer(model, objective, data, course, device=self.device, precision=self.precision)

        def told(step: int, loss: float | None) -> None:
            progress(step, loss)
            if step % max(1, recipe.steps // _READINGS) == 0:
                watch(step, perplexity(model, tokenizer, self.tests.validation, self.device))

        trainer.run(told)
        model.config.use_cache = True
        chat_checkpoint.save(model.cpu(), tokenizer, self.directory(recipe))
        return trainer.seconds

    def _beginning(self, recipe: Recipe, tokenizer: Any) -> tuple[Any, Objective]:
        """The model before the first step, and what it is to learn."""
        place, taught, tokens = self.teacher(recipe), recipe.taught, tokens_of(tokenizer)
        if place is None or taught is None:
            return self._prepared(chat_checkpoint.build(recipe, tokenizer, seed=self.seed)), NextToken(tokens)
        # Distillation brings gRPC along, which making a model needs for nothing else.
        from sluice.distillation.layer_drop import keep_layers

        teacher, _ = chat_checkpoint.load(place)
        model = keep_layers(teacher, taught.layers)
        model.generation_config = teacher.generation_config
        soft = SoftReply(tokens, temperature=taught.temperature, alpha=taught.alpha)
        return self._prepared(model), Imitation(self._prepared(teacher).to(self.device), [soft])

    def _prepared(self, model: Any) -> Any:
        """The model as it learns or teaches: nothing is written, so nothing is kept for the next token."""
        compute_all_experts(model, self.device)
        model.config.use_cache = False
        return model

    def finish(self, key: str, recipe: Recipe, *, trained_on: str) -> ChatMeasured:
        """Measures the saved files, in fp32 on the run's device, and writes quality.json and the card.

        `trained_on` is the kind of device that they were trained on, as torch names it.
        """
        directory = self.directory(recipe)
        model, tokenizer = chat_checkpoint.load(directory)
        compute_all_experts(model, self.device)
        write = greedy_writer(model, tokenizer, self.device, max_new_tokens=self.max_new_tokens)
        count = len(self.tests.seen)
        judged = judge(write, [one.mail for one in self.tests.seen + self.tests.held_out])
        measured = ChatMeasured(
            seen=quality_of(judged[:count]),
            held_out=quality_of(judged[count:]),
            overall=quality_of(judged),
            seen_perplexity=perplexity(model, tokenizer, self.tests.seen, self.device),
            held_out_perplexity=perplexity(model, tokenizer, self.tests.held_out, self.device),
            wrong=[one for one in judged if not one.is_right],
        )
        parameters = sum(parameter.numel() for parameter in model.parameters())
        training = Training(
            seed=self.seed,
            steps=recipe.steps,
            messages=self.read_by(recipe),
            parameters=parameters,
            precision=self.precision,
            device=trained_on,
        )
        write_quality(directory, recipe, measured, training)
        write_card(directory, key, recipe, measured, training)
        return measured
