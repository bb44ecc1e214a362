"""A phrasebook of a few words, and a reader that works out what its messages mean without knowing the grammar.

The reader is the second opinion: it sees nothing but the text.
"""

from __future__ import annotations

import re
from typing import Any

from sluice.training.phrasebook import LANGUAGES, Phrasebook

LABELS = ("apple", "cherry", "lemon", "melon", "peach", "plum")
PLACES = ("first", "second", "third", "fourth")
# The digits are there so that every partition holds some wording of each sentence.
FRAMES = {
    "opener": "hello, ",
    "plain": "want {vp}, {order}.",
    "contrast": "want {vp} but never {vp2}, {order}.",
    "double_negation": "want {vp} and do not doubt it, {order}.",
    "offer": "refuse {vp2} and want {vp}, {order}.",
    "options": "choose of {count} from {options}, {order}.",
    "ordinal": "pick the {pick}, {order}.",
    "condition": "if {if} then {vp} or else {vp2}, {order}.",
    "correction": "rather {vp}, {order}.",
    "repick": "pick the {pick}, {order}.",
    "revert": "undo that, {order}.",
    "redo": "redo that, {order}.",
    "restore": "restart, {order}.",
    "negation": "without {vp2}, {order}.",
    "resolved": "done with {vp2}, {order}.",
    "reported": "she said {vp2}, {order}.",
    "deferred": "later {vp2}, {order}.",
    "background": "by the way, {order}.",
    "venting": "alas, {order}.",
}
IGNORED = ("without", "done with", "she said", "later", "by the way", "alas")


def toybook() -> Phrasebook:
    """Every label is a fruit, every phrase for it its name, and both languages say the same."""
    frames = {
        "patterns": {"order": _both("9999")},
        "slots": {},
        "frames": {kind: _both(frame) for kind, frame in FRAMES.items()},
        "circumstances": [{"if": ["it rains"], "true": ["it rains, {order}."], "false": ["it is dry, {order}."]}],
        "places": {"each": PLACES, "middle": "middle", "last": "last", "counts": ("two", "three", "four")},
    }
    by_language = {name: dict.fromkeys(LANGUAGES, frames[name]) for name in frames if name != "patterns"}
    phrases = {label: {language: _phrases(label) for language in LANGUAGES} for label in LABELS}
    return Phrasebook(phrases, {**frames, **by_language})


def _phrases(label: str) -> dict[str, Any]:
    kinds = {kind: [label] for kind in ("request", "vp", "np")}
    return {**kinds, "held_out": kinds}


def _both(line: str) -> dict[str, list[str]]:
    return {"seen": [line], "held_out": [line]}


def fruits(sentence: str) -> list[str]:
    """The labels in a sentence, in their order."""
    return re.findall("|".join(LABELS), sentence)


def read(text: str) -> str:
    """What the customer wants in the end, by reading one sentence after the other."""
    reader = _Reader()
    for sentence in re.split(r"(?<=\.) ", text.lower().replace("，", ", ")):
        said = sentence.removeprefix("hello, ").strip()
        if not said.startswith(IGNORED):
            reader.hear(said)
    return reader.wishes[-1]


class _Reader:
    """The customer's wishes so far, and what is still open to be pointed at or decided."""

    def __init__(self) -> None:
        self.wishes: list[str] = []
        self._withdrawn = ""
        self._open: list[str] = []

    def hear(self, said: str) -> None:
        """Take one sentence in."""
        verb, names = re.split(r"\W", said, maxsplit=1)[0], fruits(said)
        if verb in {"choose", "if"}:
            self._open = names
        elif verb == "undo":
            self._withdrawn = self.wishes.pop()
        else:
            self.wishes.append(self._wish(verb, said, names))

    def _wish(self, verb: str, said: str, names: list[str]) -> str:
        if verb in {"want", "rather"}:
            return names[0]
        if verb == "pick":
            word = said.split()[2].rstrip(",")
            return self._open[{"last": -1, "middle": 1}.get(word) or PLACES.index(word)]
        wishes = {"refuse": names[1:], "it": self._open["dry" in said :], "redo": [self._withdrawn]}
        return {**wishes, "restart": self.wishes}[verb][0]
