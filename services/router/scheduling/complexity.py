"""How complex a text is, from its surface alone: cheap enough to be asked of every request on the router's loop.

A sum of counts that never shrink when a text goes on, with weights of at least nothing, so that more text is never
simpler. `tools/calibrate_complexity.py` fits the weights to messages of known complexity.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from operator import mul

Complexity = Callable[[str], float]
"""Returns the complexity of a text, in [0, 1]. Called on the event loop, so it has microseconds."""

_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|[。！？；]")
_STEMS = (
    *("not", "never", "no", "without", "don't", "can't", "won't", "doesn't", "isn't", "except", "unless", "if"),
    *("instead", "but", "however", "rather", "although", "though", "yet", "otherwise", "whether"),
    *("wait", "actually", "first"),
)
_TURNS = frozenset(form for stem in _STEMS for word in (stem, stem.capitalize()) for form in (word, f"{word},"))
_WIDE_TURNS = "不没别但如除"
FEATURES = ("narrow_length", "wide_length", "sentences", "turns")


def features(text: str) -> tuple[float, ...]:
    """FEATURES of `text`: roots of the numbers of narrow and wide (CJK) characters, and counts.

    Turns are negations, conditions and contrasts.
    """
    length = len(text)
    wide = 0 if text.isascii() else (len(text.encode(errors="replace")) - length) // 2
    turns = len(_TURNS.intersection(text.split()))
    if wide:
        turns += sum(map(text.count, _WIDE_TURNS))
    sentences = len(_SENTENCE_END.findall(text))
    return sqrt(max(0, length - wide)), sqrt(wide), sentences, turns


@dataclass(frozen=True, slots=True)
class Weights:
    """A linear model: the intercept, and one weight for each of FEATURES."""

    intercept: float
    weights: tuple[float, ...]

    def __call__(self, text: str) -> float:
        """The complexity of `text`, in [0, 1]."""
        total: float = self.intercept + sum(map(mul, self.weights, features(text)))
        return min(1.0, max(0.0, total))
