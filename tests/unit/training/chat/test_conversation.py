"""Conversations are reproducible and keep their splits apart; replies are right by the rule that judges models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from sluice.training.chat import conversation, replybook, storybook, vocabulary
from sluice.training.chat.conversation import Conversation, converse, converse_in_shards
from sluice.training.chat.mail import Mail
from sluice.training.chat.reading import reader
from sluice.training.grammar import Message
from sluice.training.partition import partition_of, sentences_of
from sluice.training.phrasebook import LANGUAGES
from sluice.training.template import parse

DRAWN = 1500
HELD_OUT_ORDER = re.compile(r"QX\d{4}-\d|Z/\d{5}")


@pytest.fixture(scope="module")
def training() -> list[Conversation]:
    return converse("train", DRAWN, seed=5)


@pytest.fixture(scope="module")
def held_out() -> list[Conversation]:
    return converse("test_held_out", DRAWN // 5, seed=5)


def held_out_lines() -> Iterator[re.Pattern[str]]:
    content: dict[str, Any] = storybook.load()._content
    for entry in content["wishes"].values():
        for language in LANGUAGES:
            for line in entry[language]["held_out"]:
                yield re.compile(parse(line).pattern(lambda _: ".{1,40}?"), re.IGNORECASE)


def test_the_same_arguments_give_the_same_conversations_and_more_begin_with_fewer(training: list[Conversation]) -> None:
    assert converse("train", 40, seed=5) == training[:40]
    assert converse("train", 40, seed=6) != training[:40]
    assert converse("train", 40, seed=5, shard=1) != training[:40]


def test_shards_made_by_processes_are_those_made_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SHARD_SIZE", 10)
    made: list[int] = []
    written = converse_in_shards(25, seed=5, workers=2, tick=made.append)
    in_a_row = [converse("train", count, seed=5, shard=shard) for shard, count in enumerate((10, 10, 5))]
    assert written == list(chain.from_iterable(in_a_row))
    assert made == [10, 10, 5]


def test_all_intents_and_small_talk_occur_in_both_languages_half_of_it_as_stories(training: list[Conversation]) -> None:
    mails = [one.mail for one in training]
    assert {mail.intent for mail in mails} == set(replybook.load().intents)
    assert set(vocabulary.load().labels) < set(replybook.load().intents)
    assert 0.45 < sum(mail.language == "zh" for mail in mails) / DRAWN < 0.55
    assert sum(mail.reason is not None for mail in mails) / DRAWN > 0.35
    complexities = Counter(mail.complexity for mail in mails)
    assert set(complexities) == set(range(8))


@pytest.mark.parametrize("split", ["validation", "test_seen", "test_held_out"])
def test_no_sentence_of_another_splits_mails_occurs_in_training(training: list[Conversation], split: str) -> None:
    mails = [one.mail.text for one in converse(split, 200, seed=5)]
    assert len(set(mails)) == 200
    wanted = "validation" if split == "validation" else "test"
    assert {partition_of(sentence) for mail in mails for sentence in sentences_of(mail)} == {wanted}
    assert {partition_of(sentence) for one in training for sentence in sentences_of(one.mail.text)} == {"train"}


def test_training_never_shows_what_is_held_out(training: list[Conversation]) -> None:
    together = "\n".join(one.mail.text for one in training)
    assert not HELD_OUT_ORDER.search(together)
    assert not [line.pattern for line in held_out_lines() if line.search(together)]


def test_held_out_mails_say_what_they_want_in_held_out_words_and_values(held_out: list[Conversation]) -> None:
    orders = [one.mail.details["order"] for one in held_out if "order" in one.mail.details]
    assert len(orders) > 20
    assert all(HELD_OUT_ORDER.fullmatch(order) for order in orders)
    lines = list(held_out_lines())
    stories = [one.mail for one in held_out if one.mail.reason is not None]
    # Some are misspelt.
    assert sum(any(line.search(mail.text) for line in lines) for mail in stories) > 0.8 * len(stories)


@pytest.mark.parametrize("split", ["train", "test_held_out"])
def test_every_reply_is_right_about_its_mail(split: str) -> None:
    for one in converse(split, 300, seed=9):
        assert reader().read(one.reply, one.mail).is_right, one


def test_a_reply_asks_for_the_order_number_where_it_is_needed_and_missing(training: list[Conversation]) -> None:
    tracking = [one for one in training if one.mail.intent == "order_status" and one.mail.language == "en"]
    asked = {("order" in one.mail.details, "order number" in one.reply) for one in tracking}
    assert asked == {(True, False), (False, True)}


def test_a_message_that_speaks_of_its_intent_twice_is_no_mail() -> None:
    message = Message(text="a, no, a", label="order_status", language="en", constructs=())
    with pytest.raises(ValueError, match="take another message"):
        Mail.of(message)
