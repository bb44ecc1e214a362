"""Held-out phrasings and slot values: never drawn for training, always for what measures novelty."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from sluice.training.dataset import generate
from sluice.training.phrasebook import LANGUAGES, Phrasebook, load

KINDS = ("request", "vp", "np")
DRAWN = 1200


class Listener(Phrasebook):
    """A phrasebook that remembers every line it gave, before its slots are filled, and every slot value."""

    def __init__(self) -> None:
        book = load()
        super().__init__(book._phrases, book._frames)
        self.phrases: set[str] = set()
        self.frames: set[str] = set()
        self.values: set[tuple[str, str, str]] = set()

    def phrase(self, rng: Random, *, intent: str, language: str, kind: str, held_out: float) -> str:
        line = super().phrase(rng, intent=intent, language=language, kind=kind, held_out=held_out)
        self.phrases.add(line)
        return line

    def frame(self, rng: Random, *, kind: str, language: str, held_out: float) -> str:
        line = super().frame(rng, kind=kind, language=language, held_out=held_out)
        self.frames.add(line)
        return line

    def slot(self, rng: Random, *, name: str, language: str, held_out: float) -> str:
        value = super().slot(rng, name=name, language=language, held_out=held_out)
        self.values.add((language, name, value))
        return value


def phrases(*, held_out: bool) -> Iterator[str]:
    for by_language in load()._phrases.values():
        for entry in by_language.values():
            for kind in KINDS:
                yield from (entry["held_out"] if held_out else entry)[kind]


def frames(*, held_out: bool) -> Iterator[str]:
    for language in LANGUAGES:
        for entry in load()._frames["frames"][language].values():
            yield from entry["held_out" if held_out else "seen"]


def slots() -> dict[tuple[str, str], dict[str, list[str]]]:
    """Every slot's entry, by language and name."""
    content: dict[str, Any] = load()._frames
    listed = {(language, name): entry for language in LANGUAGES for name, entry in content["slots"][language].items()}
    return listed | {(language, name): entry for language in LANGUAGES for name, entry in content["patterns"].items()}


def fits(entry: list[str], value: str) -> bool:
    """Whether a value is one of an entry's: a word of it, perhaps behind a brand, or drawn from a pattern of it."""
    signs = {"9": "[0-9]", "&": "[A-Z]"}
    patterns = ("".join(signs.get(char, re.escape(char)) for char in line) for line in entry)
    return any(re.fullmatch(f"(?:.*[ \u4e00-\u9fff])?{pattern}", value) for pattern in patterns)


@pytest.fixture(scope="module")
def training() -> tuple[Listener, list[str]]:
    book = Listener()
    return book, [message.text for message in generate("train", DRAWN, book=book, seed=11)]


@pytest.fixture(scope="module")
def novel() -> Listener:
    book = Listener()
    generate("test_held_out", DRAWN, book=book, seed=11)
    return book


def test_no_line_is_both_seen_and_held_out() -> None:
    assert not set(phrases(held_out=False)) & set(phrases(held_out=True))
    assert not set(frames(held_out=False)) & set(frames(held_out=True))
    for entry in slots().values():
        assert not set(entry["seen"]) & set(entry["held_out"])


def test_every_intent_has_held_out_phrasings_of_every_kind_in_both_languages() -> None:
    for by_language in load()._phrases.values():
        assert set(by_language) == set(LANGUAGES)
        for entry in by_language.values():
            assert all(entry["held_out"][kind] and entry[kind] for kind in KINDS)


def test_training_draws_no_held_out_phrase_frame_or_value(training: tuple[Listener, list[str]]) -> None:
    book, _ = training
    assert len(book.phrases) > 300
    assert book.phrases <= set(phrases(held_out=False))
    assert book.frames <= set(frames(held_out=False))
    for language, name, value in book.values:
        entry = slots()[language, name]
        assert fits(entry["seen"], value)
        assert not fits(entry["held_out"], value)


def test_no_held_out_word_stands_in_a_training_text(training: tuple[Listener, list[str]]) -> None:
    _, texts = training
    together = "\n".join(texts).casefold()
    words = [word for entry in slots().values() for word in entry["held_out"] if "9" not in word and len(word) > 3]
    words += [word for (language, _), entry in slots().items() if language == "zh" for word in entry["held_out"]]
    checked = {word.casefold() for word in words if not re.search(r"[0-9&]", word)} - {"xxl"}
    assert len(checked) > 30
    assert [word for word in checked if word in together] == []


def test_the_held_out_split_speaks_of_the_label_in_held_out_phrases_and_values(novel: Listener) -> None:
    assert set(phrases(held_out=True)) <= novel.phrases
    for language, name, value in novel.values:
        assert fits(slots()[language, name]["held_out"], value)
    used = novel.frames & set(frames(held_out=True))
    assert 0.5 * len(set(frames(held_out=True))) < len(used)
