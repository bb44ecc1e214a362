"""The corpus that all models are made from and measured on: how much of each split, and under which seed."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.training.dataset import Tick, generate, generate_train
from sluice.training.grammar import Message
from sluice.training.phrasebook import Phrasebook

TRAIN_MESSAGES = 400_000
VALIDATION_MESSAGES = 1_600
TEST_SEEN_MESSAGES = 4_000
TEST_HELD_OUT_MESSAGES = 2_000
FRESH = 1
"""Added to the seed of the messages that a taught model learns with: its teacher was trained on others."""
FRESH_MESSAGES = 20_000
"""How many of them the tool writes into a file."""
TOKENIZER_MESSAGES = 60_000
"""The tokenizer learns from the first so many training messages; more would not change its vocabulary's use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """The two test splits, measured apart and together."""

    seen: list[Message]
    held_out: list[Message]

    @property
    def all(self) -> list[Message]:
        """Both splits, one after the other."""
        return self.seen + self.held_out


def draw_tests(book: Phrasebook, seed: int, *, scale: float = 1.0) -> Tests:
    """Returns the test splits, scaled down for a smoke run."""
    return Tests(
        seen=generate("test_seen", _scaled(TEST_SEEN_MESSAGES, scale), book=book, seed=seed),
        held_out=generate("test_held_out", _scaled(TEST_HELD_OUT_MESSAGES, scale), book=book, seed=seed),
    )


def validation(book: Phrasebook, seed: int, *, scale: float = 1.0) -> list[Message]:
    """Returns the validation split, for watching a run; no decision is taken on the test splits."""
    return generate("validation", _scaled(VALIDATION_MESSAGES, scale), book=book, seed=seed)


def train_size(scale: float) -> int:
    """Returns the number of training messages of a run at `scale` (1.0 is the whole corpus)."""
    return _scaled(TRAIN_MESSAGES, scale)


def train(seed: int, *, scale: float, workers: int, tick: Tick) -> list[Message]:
    """Returns the training split, made by `workers` processes."""
    return generate_train(train_size(scale), seed=seed, workers=workers, tick=tick)


def fresh(book: Phrasebook, seed: int, *, count: int) -> list[Message]:
    """Returns messages like those of training, which nothing was trained on: for learning from a model."""
    return generate("train", count, book=book, seed=seed + FRESH)


def _scaled(count: int, scale: float) -> int:
    """Keeps a multiple of eight, so that the complexity buckets stay even."""
    return max(64, round(count * scale / 8) * 8)
