"""The tokenizer keeps signs of numbers apart and writes back what it read; its template is what training shows."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from jinja2 import TemplateError

from sluice.training.chat.chat_format import SPECIAL_TOKENS, VOCABULARY_SIZE, prompt, train_tokenizer, transcript
from sluice.training.chat.conversation import Conversation, converse
from sluice.training.chat.evaluation import tokens_of

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    return converse("train", 300, seed=3)


@pytest.fixture(scope="module")
def tokenizer(conversations: list[Conversation]) -> Any:
    return train_tokenizer(text for one in conversations for text in (one.mail.text, one.reply))


def turns(one: Conversation) -> list[dict[str, str]]:
    return [{"role": "user", "content": one.mail.text}, {"role": "assistant", "content": one.reply}]


def test_a_number_is_read_sign_by_sign_and_chinese_by_characters(tokenizer: Any) -> None:
    signs = tokenizer.tokenize("QX1234-5")
    assert signs == ["Q", "X", "1", "2", "3", "4", "-", "5"]
    assert len(tokenizer.tokenize("订单到哪了")) == 5
    assert len(tokenizer.tokenize("order")) < 5
    assert len(tokenizer) <= VOCABULARY_SIZE


def test_what_was_read_can_be_written_back(conversations: list[Conversation], tokenizer: Any) -> None:
    for one in conversations:
        text = f"{one.mail.text} {one.reply}"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_template_gives_what_training_shows(conversations: list[Conversation], tokenizer: Any) -> None:
    for one in conversations[:50]:
        assert tokenizer.apply_chat_template(turns(one), tokenize=False) == transcript(one)
        asked = tokenizer.apply_chat_template(turns(one)[:1], tokenize=False, add_generation_prompt=True)
        assert asked == prompt(one.mail.text)
        assert transcript(one).startswith(asked)


def test_signs_that_set_turns_apart_are_single_tokens(tokenizer: Any) -> None:
    assert [tokenizer.tokenize(token) for token in SPECIAL_TOKENS] == [[token] for token in SPECIAL_TOKENS]


def test_what_is_learned_is_what_the_template_calls_the_assistants(
    conversations: list[Conversation], tokenizer: Any
) -> None:
    for one in conversations[:50]:
        told = tokenizer.apply_chat_template(
            turns(one), return_dict=True, return_assistant_tokens_mask=True, return_tensors=None
        )
        ids = torch.tensor([told["input_ids"]])
        assert tokens_of(tokenizer).following(ids)[0].int().tolist() == told["assistant_masks"][1:]


def test_a_role_that_the_model_does_not_know_is_refused(tokenizer: Any) -> None:
    with pytest.raises(TemplateError, match="user and assistant only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "be kind"}])
