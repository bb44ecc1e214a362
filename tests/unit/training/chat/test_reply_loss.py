"""Only replies are learned: written out by hand for a few tokens, and untouched by what the customer wrote."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from sluice.training.chat.reply_loss import NextToken, ReplyTokens, SoftReply
from sluice.training.encoding import UNLABELLED, Batch
from sluice.training.objective import divergence

pytestmark = pytest.mark.torch
PAD, ASSISTANT, END, WORDS = 0, 1, 2, 6
TOKENS = ReplyTokens(assistant_id=ASSISTANT, end_id=END)
IDS = torch.tensor([[3, 4, ASSISTANT, 5, 3, END, PAD], [3, ASSISTANT, 4, END, PAD, PAD, PAD]])
REPLIES = [(0, 2), (0, 3), (0, 4), (1, 1), (1, 2)]
"""Where a token stands whose next one belongs to a reply, or ends it."""


def batch() -> Batch:
    return Batch(IDS, (IDS != PAD).long(), torch.full((2,), UNLABELLED))


def drawn(seed: int) -> Any:
    return torch.randn(*IDS.shape, WORDS, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def loss_at(logits: Any, row: int, column: int) -> float:
    return float(functional.cross_entropy(logits[row, column], IDS[row, column + 1]).detach())


def test_a_reply_goes_from_behind_its_sign_to_its_end() -> None:
    assert TOKENS.following(IDS).nonzero().tolist() == [list(place) for place in REPLIES]


def test_every_reply_of_a_longer_conversation_is_learned() -> None:
    ids = torch.tensor([[3, ASSISTANT, 4, END, 5, ASSISTANT, 4, END, PAD]])
    assert TOKENS.following(ids).nonzero()[:, 1].tolist() == [1, 2, 5, 6]


def test_the_loss_is_the_mean_over_tokens_of_replies() -> None:
    logits = drawn(0)
    loss = NextToken(TOKENS)(lambda input_ids: SimpleNamespace(logits=logits), batch())
    assert loss.item() == pytest.approx(sum(loss_at(logits, *place) for place in REPLIES) / len(REPLIES), rel=1e-5)


@pytest.mark.parametrize("soft", [False, True], ids=["next token", "teacher"])
def test_nothing_is_learned_from_mails_and_padding(soft: bool) -> None:
    logits = drawn(0)
    said = SimpleNamespace(logits=logits)
    if soft:
        loss = SoftReply(TOKENS, temperature=2.0, alpha=0.4)(said, SimpleNamespace(logits=drawn(1)), batch())
    else:
        loss = NextToken(TOKENS)(lambda input_ids: said, batch())
    loss.backward()
    moved = logits.grad.abs().sum(-1) > 0
    assert moved.nonzero().tolist() == [list(place) for place in REPLIES]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_copy_learns_from_its_teacher_and_by_alpha_from_what_stands_there(temperature: float) -> None:
    said, wanted = drawn(0), drawn(1)
    by_hand = 0.0
    for row, column in REPLIES:
        soft = divergence(wanted[row, column] / temperature, said[row, column] / temperature).item()
        by_hand += 0.75 * temperature**2 * soft + 0.25 * loss_at(said, row, column)
    objective = SoftReply(TOKENS, temperature=temperature, alpha=0.25)
    loss = objective(SimpleNamespace(logits=said), SimpleNamespace(logits=wanted), batch())
    assert loss.item() == pytest.approx(by_hand / len(REPLIES), rel=1e-5)


def test_who_says_what_the_teacher_says_has_nothing_left_to_learn_from_it() -> None:
    said = SimpleNamespace(logits=drawn(0))
    assert SoftReply(TOKENS, temperature=1.0, alpha=0.0)(said, said, batch()).item() == pytest.approx(0.0, abs=1e-6)


def test_a_model_that_knows_nothing_loses_the_logarithm_of_its_words() -> None:
    logits = torch.zeros(*IDS.shape, WORDS)
    loss = NextToken(TOKENS)(lambda input_ids: SimpleNamespace(logits=logits), batch())
    assert loss.item() == pytest.approx(math.log(WORDS))
