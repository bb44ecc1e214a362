"""Reads a reply back by the rules it is written by: its language, what it is about, and the details that it names.

A reply is about an intent if it holds a sentence that the replybook has for acts of this intent, whatever stands in the
place of its slots. What stands there is compared with the mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from sluice.training.chat.mail import Mail
from sluice.training.chat.replybook import Replybook, load
from sluice.training.phrasebook import LANGUAGES
from sluice.training.template import parse

_LONGEST_VALUE = 40
_HANZI = re.compile(r"[\u3400-\u9fff]")
_LETTER = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"(?:order|parcel|订单|包裹) ?((?:nr |No\. )?[A-Z#/-]*\d[A-Z\d#/-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reply says, held against the mail it answers."""

    in_its_language: bool
    on_its_intent: bool
    details_named: bool
    """Whether the sentence about the intent names any."""
    details_right: bool
    """Whether all that it names are the mail's; true where it names none."""
    order_named: bool
    order_right: bool
    """Whether every order number in the reply is the one in the mail."""

    @property
    def is_right(self) -> bool:
        """Right in all of it."""
        return self.in_its_language and self.on_its_intent and self.details_right and self.order_right


class Reader:
    """Knows the sentences of a replybook by their shape."""

    def __init__(self, book: Replybook) -> None:
        self._shapes = {
            (intent, language): [_Shape(line) for line in book.acts(intent, language)]
            for intent in book.intents
            for language in LANGUAGES
        }

    def intents(self, reply: str) -> set[str]:
        """All intents that the reply is about."""
        return {intent for (intent, _), shapes in self._shapes.items() if any(shape.is_in(reply) for shape in shapes)}

    def read(self, reply: str, mail: Mail) -> Reading:
        """Holds a reply against its mail; of several ways to read a sentence the kindest counts."""
        found = [shape for shape in self._shapes[mail.intent, mail.language] if shape.is_in(reply)]
        right = [shape for shape in found if shape.is_in(reply, mail.details)]
        numbers = [match[1] for match in _NUMBER.finditer(reply)]
        return Reading(
            in_its_language=language_of(reply) == mail.language,
            on_its_intent=bool(found),
            details_named=bool((right or found) and max(len(shape.slots) for shape in right or found)),
            details_right=not found or bool(right),
            order_named=bool(numbers),
            order_right=all(number == mail.details.get("order") for number in numbers),
        )


class _Shape:
    """One template as an expression that finds it in a reply, as a sentence of its own."""

    def __init__(self, line: str) -> None:
        self._template = parse(line)
        self._expression = self._with(lambda _: f"[^。！？!?]{{1,{_LONGEST_VALUE}}}?")
        self.slots = self._template.slots()

    def is_in(self, reply: str, details: Mapping[str, str] | None = None) -> bool:
        """Whether the reply holds such a sentence, with exactly these details if any are told."""
        if details is None:
            return self._expression.search(reply) is not None
        if not self.slots <= details.keys():
            return False
        return self._with(lambda name: f"(?i:{re.escape(details[name])})").search(reply) is not None

    def _with(self, slot: Callable[[str], str]) -> re.Pattern[str]:
        return re.compile(f"(?:^|(?<=[。！？!?.]))\\s*{self._template.pattern(slot)}(?:$|(?<=[。！？])|(?= ))")


def language_of(reply: str) -> str:
    """Chinese where more characters than Latin words stand, else English."""
    return "zh" if len(_HANZI.findall(reply)) > len(_LETTER.findall(reply)) else "en"


@cache
def reader() -> Reader:
    """Returns the reader of this package's replies."""
    return Reader(load())
