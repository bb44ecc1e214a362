"""What the shop's agent answers: a sentence for each part of a reply, with the details of the mail in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from random import Random
from typing import Any

from sluice.training.chat import storybook, vocabulary
from sluice.training.chat.mail import Mail
from sluice.training.chat.storybook import Storybook
from sluice.training.template import parse

_GREET_SHARE = 0.75
_SORRY_SHARE = 0.75
_CLOSE_SHARE = 0.7
_OPEN_ENDS = "。？！"


class Replybook:
    """Replies by intent and language; small talk has its own."""

    def __init__(self, content: dict[str, Any], stories: Storybook) -> None:
        self._content = content
        self._stories = stories

    @property
    def intents(self) -> tuple[str, ...]:
        """All intents that are answered, and the topics of small talk."""
        return (*self._content["intents"], *self._stories.topics)

    def acts(self, intent: str, language: str) -> list[str]:
        """Templates of the sentence that says what is being done, by which a reply shows its intent."""
        if intent in self._stories.topics:
            return self._stories.replies(intent, language)
        lines: list[str] = self._content["intents"][intent][language]["act"]
        return lines

    def reply(self, rng: Random, mail: Mail) -> str:
        """Returns an answer to the mail, in its language."""
        if mail.intent in self._stories.topics:
            return parse(rng.choice(self.acts(mail.intent, mail.language))).expand(rng, mail.details.__getitem__)
        parts = self._content["parts"][mail.language]
        entry = self._content["intents"][mail.intent]
        lines = entry[mail.language]
        chosen: list[str] = []
        if rng.random() < _GREET_SHARE:
            chosen.append(rng.choice(parts["greet"]))
        if rng.random() < _SORRY_SHARE:
            chosen += self._sorry(rng, mail, lines["sorry"])
        chosen.append(rng.choice(_most_telling(lines["act"], mail.details)))
        known = not entry["needs"] or entry["needs"] in mail.details
        chosen.append(rng.choice(lines["next"] if known else lines["ask"]))
        if rng.random() < _CLOSE_SHARE:
            chosen.append(rng.choice(parts["close"]))
        return _join(parse(line).expand(rng, mail.details.__getitem__) for line in chosen)

    def _sorry(self, rng: Random, mail: Mail, usual: list[str]) -> list[str]:
        told = self._stories.sorry(mail.reason, mail.language) if mail.reason else usual
        fitting = [line for line in told if parse(line).slots() <= mail.details.keys()]
        return [rng.choice(fitting)] if fitting else []


def _most_telling(lines: list[str], details: Mapping[str, str]) -> list[str]:
    """Those that name as many details as any of them can."""
    fitting = [line for line in lines if parse(line).slots() <= details.keys()]
    most = max(len(parse(line).slots()) for line in fitting)
    return [line for line in fitting if len(parse(line).slots()) == most]


def _join(sentences: Iterable[str]) -> str:
    text = ""
    for sentence in sentences:
        text += sentence if not text or text[-1] in _OPEN_ENDS else f" {sentence}"
    return text


@cache
def load() -> Replybook:
    """Returns the replies of this package."""
    return Replybook(vocabulary.read("replies.yaml"), storybook.load())
