"""The conversations that the chat models are made from and measured on: how many of each split, under which seed."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.training.chat.conversation import Conversation, converse

TRAIN_CONVERSATIONS = 400_000
VALIDATION_CONVERSATIONS = 800
TEST_SEEN_CONVERSATIONS = 2_400
TEST_HELD_OUT_CONVERSATIONS = 1_200
TOKENIZER_CONVERSATIONS = 40_000
"""The tokenizer learns from the first so many; more would not change its vocabulary's use."""
_FEWEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTests:
    """What is measured on: `held_out` has wordings and values that training never showed."""

    seen: list[Conversation]
    held_out: list[Conversation]
    validation: list[Conversation]
    """For watching a run; no decision is taken on the other two."""


def draw_tests(seed: int, *, scale: float = 1.0) -> ChatTests:
    """Returns the test splits, scaled down for a smoke run."""
    return ChatTests(
        seen=converse("test_seen", _scaled(TEST_SEEN_CONVERSATIONS, scale), seed=seed),
        held_out=converse("test_held_out", _scaled(TEST_HELD_OUT_CONVERSATIONS, scale), seed=seed),
        validation=converse("validation", _scaled(VALIDATION_CONVERSATIONS, scale), seed=seed),
    )


def train_size(scale: float) -> int:
    """Returns the number of training conversations of a run at `scale` (1.0 is the whole corpus)."""
    return _scaled(TRAIN_CONVERSATIONS, scale)


def _scaled(count: int, scale: float) -> int:
    return max(_FEWEST, round(count * scale))
