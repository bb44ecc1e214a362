"""The phrasebook holds what customers say: phrases per intent, sentence frames and slot values, each seen or held out.

Held-out material never reaches the training texts, so it measures how a model copes with words it was not taught.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from string import ascii_uppercase
from typing import Any

import yaml

LANGUAGES = ("en", "zh")
_BRANDED = frozenset({"item", "item2"})
_BRAND_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Novelty:
    """How often held-out material is drawn: 0 never, 1 always."""

    live: float = 0.0
    """For the phrase of the intent that labels the text."""
    other: float = 0.0
    """For the phrases of the other intents in the text."""
    frame: float = 0.0
    """For the sentence around a phrase."""
    slot: float = 0.0
    """For the order numbers, articles, places and days in it."""


SEEN = Novelty()
HELD_OUT = Novelty(live=1.0, other=0.5, frame=0.2, slot=1.0)


class Phrasebook:
    """Everything that can be said, by language; draws are made by the caller's generator."""

    def __init__(self, phrases: dict[str, Any], frames: dict[str, Any]) -> None:
        self._phrases = phrases
        self._frames = frames

    @property
    def labels(self) -> tuple[str, ...]:
        """The intents, in the order of the models' output."""
        return tuple(self._phrases)

    def phrase(self, rng: Random, *, intent: str, language: str, kind: str, held_out: float) -> str:
        """Returns the template of a request, verb phrase (`vp`) or noun phrase (`np`) for an intent."""
        entry = self._phrases[intent][language]
        source = entry["held_out"] if _chance(rng, held_out) else entry
        template: str = rng.choice(source[kind])
        return template

    def frame(self, rng: Random, *, kind: str, language: str, held_out: float) -> str:
        """Returns the template of a sentence of one kind, such as `negation` or `ordinal`."""
        return rng.choice(_pool(rng, self._frames["frames"][language][kind], held_out))

    def slot(self, rng: Random, *, name: str, language: str, held_out: float) -> str:
        """Returns a value of a slot; raises KeyError when no such slot is known."""
        pattern = self._frames["patterns"].get(name)
        if pattern is not None:
            return "".join(_draw_sign(rng, char) for char in rng.choice(_pool(rng, pattern, held_out)))
        value = rng.choice(_pool(rng, self._frames["slots"][language][name], held_out))
        if name in _BRANDED and rng.random() < _BRAND_SHARE:
            return f"{self._brand(rng, language)} {value}" if language == "en" else self._brand(rng, language) + value
        return value

    def _brand(self, rng: Random, language: str) -> str:
        name = "".join(rng.choices(self._frames["syllables"][language], k=rng.choice((2, 3))))
        return name.capitalize()

    def shapes(self, name: str) -> int:
        """Returns in how many shapes values of a slot are drawn for training; raises KeyError when it has none."""
        return len(self._frames["patterns"][name]["seen"])

    def circumstance(self, rng: Random, *, number: int, kind: str, language: str) -> str:
        """Returns a template that states condition `number` (`if`) or tells whether it holds (`true`, `false`)."""
        circumstances = self._frames["circumstances"][language]
        template: str = rng.choice(circumstances[number % len(circumstances)][kind])
        return template

    def place(self, rng: Random, *, index: int, count: int, language: str) -> str:
        """Returns a template that points at option `index` (from 0) of `count`, such as `the last one`."""
        names = self._frames["places"][language]
        fitting = [names["each"][index]]
        if index == count - 1:
            fitting.append(names["last"])
        if count == 3 and index == 1:
            fitting.append(names["middle"])
        template: str = rng.choice(fitting)
        return template

    def count(self, count: int, *, language: str) -> str:
        """Returns the word for two, three or four options."""
        word: str = self._frames["places"][language]["counts"][count - 2]
        return word


def _draw_sign(rng: Random, char: str) -> str:
    if char == "9":
        return str(rng.randrange(10))
    return rng.choice(ascii_uppercase) if char == "&" else char


def _chance(rng: Random, probability: float) -> bool:
    return probability > 0.0 and rng.random() < probability


def _pool(rng: Random, entry: dict[str, list[str]], held_out: float) -> list[str]:
    return entry["held_out"] if _chance(rng, held_out) else entry["seen"]


@cache
def load() -> Phrasebook:
    """Returns the phrasebook of this package."""
    folder = files(__package__ or "sluice.training")
    phrases = yaml.safe_load(folder.joinpath("phrases.yaml").read_text(encoding="utf-8"))
    frames = yaml.safe_load(folder.joinpath("frames.yaml").read_text(encoding="utf-8"))
    return Phrasebook(phrases, frames)
