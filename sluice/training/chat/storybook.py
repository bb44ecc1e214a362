"""Mails as people write them: a reason, a wish that follows from it, perhaps an order number; and small talk."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

from sluice.training.chat import vocabulary
from sluice.training.chat.mail import Mail
from sluice.training.partition import lies_in
from sluice.training.phrasebook import Novelty, Phrasebook
from sluice.training.sentence import NoSentence
from sluice.training.template import parse
from sluice.training.typing_errors import misspell

_TRIES = 60
_REASON_SHARE = 0.75
_POINTER_SHARE = 0.4
_OPENER_SHARE = 0.3
_LOWER_SHARE = 0.2
_TYPO_SHARE = 0.1
_LEFT_OPEN = frozenset({"speak_to_human", "product_question", "account_access", "stock_availability"})
"""Intents that nobody names an order number with."""


class Storybook:
    """Reasons, wishes and small talk, by language; draws are made by the caller's generator."""

    def __init__(self, content: dict[str, Any], book: Phrasebook) -> None:
        self._content = content
        self._book = book

    @property
    def topics(self) -> tuple[str, ...]:
        """What mails can be about that are about no order."""
        return tuple(self._content["small_talk"])

    def sorry(self, reason: str, language: str) -> list[str]:
        """Templates by which a reply takes up a reason; there may be none."""
        lines: list[str] = self._content["reasons"][reason][language]["sorry"]
        return lines

    def replies(self, topic: str, language: str) -> list[str]:
        """Templates of what is answered to small talk."""
        lines: list[str] = self._content["small_talk"][topic][language]["replies"]
        return lines

    def story(self, rng: Random, *, language: str, novelty: Novelty, partition: str) -> Mail:
        """Returns a mail that tells what happened and what is wanted.

        Raises NoSentence when the partition holds no wording that chance finds.
        """
        intent = rng.choice(tuple(self._content["wishes"]))
        for _ in range(_TRIES):
            mail = self._tell(rng, intent, language, novelty)
            if lies_in(mail.text, partition):
                return mail
        raise NoSentence(intent)

    def small_talk(self, rng: Random, *, language: str, novelty: Novelty, partition: str) -> Mail:
        """Returns a mail that is about no order; raises NoSentence as `story` does."""
        topic = rng.choice(self.topics)
        for _ in range(_TRIES):
            line = rng.choice(self._content["small_talk"][topic][language]["mails"])
            text = self._expand(rng, line, {}, language, novelty)
            text = _written(rng, text + rng.choice(_ENDS[language]), language)
            if lies_in(text, partition):
                return Mail(text=text, intent=topic, language=language)
        raise NoSentence(topic)

    def _tell(self, rng: Random, intent: str, language: str, novelty: Novelty) -> Mail:
        details: dict[str, str] = {}
        entry = self._content["wishes"][intent]
        wish = self._expand(rng, _draw(rng, entry[language], novelty.live), details, language, novelty)
        reason = rng.choice(entry["reasons"]) if rng.random() < _REASON_SHARE else None
        if reason is None:
            text = rng.choice(self._content["alone"][language]).format(wish=wish)
        else:
            line = _draw(rng, self._content["reasons"][reason][language], novelty.other)
            said = self._expand(rng, line, details, language, novelty)
            text = rng.choice(self._content["joins"][language]).format(reason=said, wish=wish)
        text = _written(rng, text, language)
        if "order" not in details and intent not in _LEFT_OPEN and rng.random() < _POINTER_SHARE:
            line = rng.choice(self._content["pointers"][language])
            text += _BLANK[language] + self._expand(rng, line, details, language, novelty)
        if rng.random() < _OPENER_SHARE:
            text = self._book.frame(rng, kind="opener", language=language, held_out=novelty.frame) + text
        if rng.random() < _TYPO_SHARE:
            text = misspell(text, rng)
        return Mail(text=text, intent=intent, language=language, details=details, reason=reason)

    def _expand(self, rng: Random, line: str, details: dict[str, str], language: str, novelty: Novelty) -> str:
        """The line with its choices taken; a slot that has a value keeps it."""

        def fill(name: str) -> str:
            if name not in details:
                details[name] = self._book.slot(rng, name=name, language=language, held_out=novelty.slot)
            return details[name]

        return parse(line).expand(rng, fill)


_BLANK = {"en": " ", "zh": ""}
_ENDS = {"en": ("", "", ".", "!", "?"), "zh": ("", "", "。", "！", "？")}


def _draw(rng: Random, entry: dict[str, list[str]], held_out: float) -> str:
    return rng.choice(entry["held_out"] if rng.random() < held_out else entry["seen"])


def _written(rng: Random, text: str, language: str) -> str:
    """English begins each sentence with a capital letter, most people think."""
    if language == "zh" or rng.random() < _LOWER_SHARE:
        return text
    for mark in (". ", "? ", "! "):
        text = mark.join(piece[:1].upper() + piece[1:] for piece in text.split(mark))
    return text


@cache
def load() -> Storybook:
    """Returns the stories of this package."""
    return Storybook(vocabulary.read("stories.yaml"), vocabulary.load())
