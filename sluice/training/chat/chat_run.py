"""The part of a run that makes chat models: conversations, tokenizer and models, with progress on the terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from transformers import AutoTokenizer

from sluice.training.chat import chat_corpus
from sluice.training.chat.chat_card import ChatMeasured
from sluice.training.chat.chat_format import train_tokenizer, transcript
from sluice.training.chat.chat_making import ChatMaking
from sluice.training.chat.conversation import Conversation, converse_in_shards
from sluice.training.encoding import UNLABELLED, Encoded, encode
from sluice.training.recipe import Recipe

_WRONG_SHOWN = 6


class ChatRun:
    """Makes one model after the other, each from as many of the conversations as it reads."""

    def __init__(self, making: ChatMaking, *, workers: int, bars: Progress, console: Console) -> None:
        self._making = making
        self._workers = workers
        self._bars = bars
        self._console = console

    def make(self, key: str, recipe: Recipe, *, measure_only: bool) -> None:
        """Trains a model unless it is only to be measured; measures and describes it."""
        making, trained_on = self._making, self._making.device.type
        if measure_only:
            former = _described(making.directory(recipe))
            trained_on = former["training_device"]
            making = replace(making, precision=former["training_precision"])
            recipe = replace(recipe, steps=former["training_steps"])
        else:
            self._train(key, recipe)
        task = self._bars.add_task(f"measuring {key}", total=None)
        measured = making.finish(key, recipe, trained_on=trained_on)
        self._bars.update(task, total=1, completed=1)
        self._report(key, measured)

    def _train(self, key: str, recipe: Recipe) -> None:
        data, tokenizer = self._material(recipe)
        task = self._bars.add_task(f"training {key}", total=recipe.steps)

        def progress(step: int, loss: float | None) -> None:
            self._bars.update(task, completed=step)
            if loss is not None:
                self._bars.update(task, description=f"training {key}, loss {loss:.3f}")

        def watch(step: int, perplexity: float) -> None:
            self._console.print(f"{key}: validation perplexity {perplexity:.3f} after {step} of {recipe.steps} steps")

        took_s = self._making.train(recipe, data, tokenizer, progress=progress, watch=watch)
        step_ms = took_s / recipe.steps * 1000
        where = f"on {self._making.device} in {self._making.precision}"
        self._console.print(f"{key}: {recipe.steps} steps {where} took {took_s:.0f} s, {step_ms:.0f} ms a step")

    def _material(self, recipe: Recipe) -> tuple[Encoded, Any]:
        """Conversations, read with the teacher's tokenizer or with one that learns from them."""
        teacher = self._making.teacher(recipe)
        conversations = self._write(self._making.read_by(recipe))
        if teacher is None:
            first = conversations[: chat_corpus.TOKENIZER_CONVERSATIONS]
            tokenizer = train_tokenizer(text for one in first for text in (one.mail.text, one.reply))
        else:
            tokenizer = AutoTokenizer.from_pretrained(teacher, local_files_only=True)
        return self._read(conversations, tokenizer), tokenizer

    def _write(self, count: int) -> list[Conversation]:
        task = self._bars.add_task("writing conversations", total=count)
        tick = partial(self._bars.advance, task)
        return converse_in_shards(count, seed=self._making.seed, workers=self._workers, tick=tick)

    def _read(self, conversations: list[Conversation], tokenizer: Any) -> Encoded:
        task = self._bars.add_task("reading conversations", total=len(conversations))

        def tick(done: int) -> None:
            self._bars.update(task, completed=done)

        texts = [transcript(one) for one in conversations]
        return encode(texts, tokenizer, [UNLABELLED] * len(texts), tick=tick)

    def _report(self, key: str, measured: ChatMeasured) -> None:
        for name, quality, perplexity in (
            ("seen phrasings", measured.seen, measured.seen_perplexity),
            ("held-out phrasings", measured.held_out, measured.held_out_perplexity),
        ):
            self._console.print(
                f"{key}, {name}: {quality.right:.3f} right, {quality.on_its_intent:.3f} on intent, "
                f"{quality.in_its_language:.3f} in language, {quality.details_right:.3f} of details, "
                f"{quality.orders_right:.3f} of {quality.replies_with_order} order numbers, "
                f"{quality.ended:.3f} ended, perplexity {perplexity:.3f}"
            )
        shares = " ".join(f"{share:.3f}" for share in measured.overall.by_complexity)
        self._console.print(f"{key}: {measured.overall.right:.3f} right overall; by complexity {shares}")
        for one in measured.wrong[:: max(1, len(measured.wrong) // _WRONG_SHOWN)][:_WRONG_SHOWN]:
            told = f"{key}, wrong about {one.mail.intent}: {one.mail.text}\n  -> {one.reply}"
            self._console.print(told, markup=False, highlight=False)


def _described(directory: Path) -> dict[str, Any]:
    """What `quality.json` recorded of the weights in a directory when they were trained."""
    content: dict[str, Any] = json.loads(Path(directory, "quality.json").read_text(encoding="utf-8"))
    return content
