"""Figures of a chat model: shares of what was written, in any order of writing, and the perplexity of given replies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from sluice.training.chat import evaluation
from sluice.training.chat.chat_format import train_tokenizer
from sluice.training.chat.conversation import converse
from sluice.training.chat.evaluation import judge, perplexity, quality_of
from sluice.training.chat.mail import Mail

pytestmark = pytest.mark.torch
ORDER = {"order": "A1234"}
MAILS = [
    Mail(text="Where is order A1234?", intent="order_status", language="en", details=ORDER),
    Mail(text="Where does order A1234 hang about, I wonder?", intent="order_status", language="en", details=ORDER),
    Mail(text="where is it", intent="order_status", language="en", complexity=2),
    Mail(text="订单A1234到哪了", intent="order_status", language="zh", details=ORDER),
]
REPLIES = {
    MAILS[0].text: ("I am tracking order A1234 for you now.", True),
    MAILS[1].text: ("I am tracking order A1243 for you now.", True),
    MAILS[2].text: ("I am tracking your parcel for you now.", False),
    MAILS[3].text: ("I have cancelled order A1234 for you.", True),
}


def test_shares_are_those_of_the_replies_that_have_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # Mails are written by length, few at a time, and their figures come back to where they belong.
    monkeypatch.setattr(evaluation, "_WRITTEN_AT_ONCE", 2)
    asked: list[list[str]] = []

    def write(mails: Sequence[str]) -> list[tuple[str, bool]]:
        asked.append(list(mails))
        return [REPLIES[mail] for mail in mails]

    judged = judge(write, MAILS)
    assert [(one.mail, (one.reply, one.ended)) for one in judged] == [(mail, REPLIES[mail.text]) for mail in MAILS]
    assert asked == [[MAILS[2].text, MAILS[3].text], [MAILS[0].text, MAILS[1].text]]
    assert [one.is_right for one in judged] == [True, False, False, False]
    quality = quality_of(judged)
    assert (quality.examples, quality.right, quality.ended) == (4, 0.25, 0.75)
    assert (quality.in_its_language, quality.on_its_intent) == (0.75, 0.75)
    assert (quality.details_right, quality.replies_with_order) == (0.5, 3)
    assert quality.orders_right == pytest.approx(2 / 3, abs=1e-4)
    assert quality.by_language == {"en": pytest.approx(1 / 3, abs=1e-4), "zh": 0.0}
    assert quality.examples_by_complexity == (3, 0, 1, 0, 0, 0, 0, 0)
    assert quality.by_complexity[0] == pytest.approx(1 / 3, abs=1e-4)
    assert math.isnan(quality.by_complexity[1])
    assert quality.by_complexity[2] == 0.0


class Even(torch.nn.Module):
    """Holds every token for equally likely."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words

    def forward(self, input_ids: Any, use_cache: bool) -> Any:
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, self.words))


def test_the_perplexity_of_one_that_knows_nothing_is_the_number_of_its_words() -> None:
    conversations = converse("validation", 20, seed=1)
    tokenizer = train_tokenizer(text for one in conversations for text in (one.mail.text, one.reply))
    model = Even(len(tokenizer)).train()
    assert perplexity(model, tokenizer, conversations, torch.device("cpu")) == pytest.approx(len(tokenizer), rel=1e-4)
    assert model.training, "whoever is measured on the way goes on learning"
