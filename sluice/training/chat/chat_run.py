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
from sluice.training.chat.conversation import Conversation
from sluice.training.encoding import UNLABELLED, Encoded, encode
from sluice.training.recipe import Recipe

_WRONG_SHOWN = 6


class ChatRun:
    """Makes one model after the other from the same conversations, which are written when they are first needed."""

    def __init__(self, making: ChatMaking, *, scale: float, workers: int, bars: Progress, console: Console) -> None:
        self._making = making
        self._scale = scale
        self._workers = workers
        self._bars = bars
        self._console = console
        self._data: tuple[Encoded, Any] | None = None

    def make(self, key: str, recipe: Recipe, *, measure_only: bool) -> None:
        """Trains a model unless it is only to be measured; measures and describes it."""
        if measure_only:
            recipe = replace(recipe, steps=_steps_of(self._making.directory(recipe)))
        else:
            self._train(key, recipe)
        task = self._bars.add_task(f"measuring {key}", total=None)
        measured = self._making.finish(key, recipe)
        self._bars.update(task, total=1, completed=1)
        self._report(key, measured)

    def _train(self, key: str, recipe: Recipe) -> None:
        data, tokenizer = self._material(self._making.teacher(recipe))
        task = self._bars.add_task(f"training {key}", total=recipe.steps)

        def progress(step: int, loss: float | None) -> None:
            self._bars.update(task, completed=step)
            if loss is not None:
                self._bars.update(task, description=f"training {key}, loss {loss:.3f}")

        def watch(step: int, perplexity: float) -> None:
            self._console.print(f"{key}: validation perplexity {perplexity:.3f} after {step} of {recipe.steps} steps")

        took_s = self._making.train(recipe, data, tokenizer, progress=progress, watch=watch)
        step_ms = took_s / recipe.steps * 1000
        told = f"{key}: {recipe.steps} steps on {self._making.device} in {took_s:.0f} s, {step_ms:.0f} ms a step"
        self._console.print(told)

    def _material(self, teacher: Path | None) -> tuple[Encoded, Any]:
        """The conversations, read with the tokenizer in directory `teacher` or with one that learns from them."""
        if self._data is None:
            conversations = self._write()
            if teacher is None:
                first = conversations[: chat_corpus.TOKENIZER_CONVERSATIONS]
                tokenizer = train_tokenizer(text for one in first for text in (one.mail.text, one.reply))
            else:
                tokenizer = AutoTokenizer.from_pretrained(teacher, local_files_only=True)
            self._data = self._read(conversations, tokenizer), tokenizer
        return self._data

    def _write(self) -> list[Conversation]:
        task = self._bars.add_task("writing conversations", total=chat_corpus.train_size(self._scale))
        tick = partial(self._bars.advance, task)
        return chat_corpus.train(self._making.seed, scale=self._scale, workers=self._workers, tick=tick)

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


def _steps_of(directory: Path) -> int:
    """The steps behind the weights in a directory, as `quality.json` recorded them when they were trained."""
    return int(json.loads(Path(directory, "quality.json").read_text(encoding="utf-8"))["training_steps"])
