"""One model in one precision: loaded as a worker loads it, judged by labelled messages, and timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.precision.subject import Shape, Subject
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.precision.loader import inference_ctx, load_precise
from sluice.engine.precision.quantizers import held_bytes
from sluice.training.grammar import Message

WARM_UP_RUNS, BATCH = 3, 64
LOWEST_TOKEN = 10


@dataclass(slots=True, kw_only=True)
class Row:
    """What was measured: bytes of weights and buffers, accuracy in [0, 1] if it was judged, ms of each shape."""

    precision: str
    held_bytes: int
    load_s: float
    accuracy: float | None = None
    times_ms: dict[str, float] = field(default_factory=dict)
    spread_ms: dict[str, tuple[float, float]] = field(default_factory=dict)


class Model:
    """`subject` in `precision` on `device`."""

    def __init__(self, subject: Subject, precision: str, device: torch.device) -> None:
        begun_at = time.perf_counter()
        self._model = load_precise(subject.checkpoint, precision=precision, device=device)
        _wait(device)
        self._device = device
        self._precision = precision
        self.row = Row(
            precision=precision, held_bytes=held_bytes(self._model), load_s=round(time.perf_counter() - begun_at, 2)
        )

    def judge(self, subject: Subject) -> None:
        """Ask for every message, in batches."""
        checkpoint = open_checkpoint(subject.checkpoint)
        self._model.config.pad_token_id = checkpoint.tokenizer.pad_token_id
        right = 0
        for start in range(0, len(subject.messages), BATCH):
            messages = subject.messages[start : start + BATCH]
            answers = self._answers(checkpoint.tokenizer, messages)
            right += sum(checkpoint.labels[one] == asked.label for one, asked in zip(answers, messages, strict=True))
        self.row.accuracy = right / len(subject.messages)

    def batch(self, shape: Shape) -> dict[str, torch.Tensor]:
        """Tokens without padding, always the same."""
        generator = torch.Generator().manual_seed(1)
        size = (shape.texts, shape.tokens)
        tokens = torch.randint(LOWEST_TOKEN, self._model.config.vocab_size, size, generator=generator)
        mask = torch.ones_like(tokens)
        return {"input_ids": tokens.to(self._device), "attention_mask": mask.to(self._device)}

    def run(self, batch: dict[str, torch.Tensor]) -> float:
        """Compute one batch; returns milliseconds until its logits were there."""
        _wait(self._device)
        begun_at = time.perf_counter()
        with inference_ctx(self._precision):
            self._model(**batch)
        _wait(self._device)
        return 1000 * (time.perf_counter() - begun_at)

    def _answers(self, tokenizer: Any, messages: Sequence[Message]) -> list[int]:
        texts = [message.text for message in messages]
        read = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self._device)
        with inference_ctx(self._precision):
            logits = self._model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits
        answers: list[int] = logits.argmax(-1).tolist()
        return answers


def time_all(models: Sequence[Model], shapes: Sequence[Shape], *, rounds: int) -> None:
    """Time every model on every shape, in turn, so that what slows the machine down slows all of them."""
    for shape in shapes:
        batches = [model.batch(shape) for model in models]
        for model, batch in zip(models, batches, strict=True):
            for _ in range(WARM_UP_RUNS):
                model.run(batch)
        times = [[model.run(batch) for model, batch in zip(models, batches, strict=True)] for _ in range(rounds)]
        for model, taken in zip(models, zip(*times, strict=True), strict=True):
            model.row.times_ms[str(shape)] = round(statistics.median(taken), 4)
            low, *_, high = statistics.quantiles(taken, n=10)
            model.row.spread_ms[str(shape)] = round(low, 4), round(high, 4)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
