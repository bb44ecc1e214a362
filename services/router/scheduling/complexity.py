"""How complex a text is, from its surface alone: cheap enough to be asked of every request on the router's loop.

A sum of counts that never shrink when a text goes on, with weights of at least nothing, so that more text is never
simpler. `tools/calibrate_complexity.py` fits the weights to messages of known complexity.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import inf, isfinite, isnan, sqrt
from operator import mul
from pathlib import Path

from sluice.domain.enums import QueryClass
from sluice.runtime.config import ConfigError

logger = logging.getLogger(__name__)


# What kind of question a text is, by its complexity, when the caller does not say.


# Between two and three of the seven constructs that the demo's messages are made of.
COMPLEX_FROM = 2.5 / 7
# What is assumed of a text whose class the caller names, so that it need not be read.
ASSUMED = {QueryClass.SIMPLE: 1.0 / 7, QueryClass.COMPLEX: 5.0 / 7, QueryClass.REAL_TIME: 1.5 / 7}


def infer_query_class(complexity: float) -> QueryClass:
    """COMPLEX or SIMPLE. Nobody can tell from a text that somebody is waiting, so REAL_TIME is never guessed."""
    return QueryClass.COMPLEX if complexity >= COMPLEX_FROM else QueryClass.SIMPLE


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


# Where the router's judgement of complexity comes from: the coefficients it ships with, a file, or a callable.


SHIPPED = Path(__file__).with_name("complexity.json")
UNKNOWN = 0.5
_TRIAL = "Where is my parcel?"


def load_complexity(source: str) -> Complexity:
    """The judgement that `source` names: empty, the shipped one; "package.module:callable"; else a file's path.

    Raises ConfigError when it cannot be read, or does not judge.
    """
    module, separator, name = source.partition(":")
    if separator and name.isidentifier() and "/" not in module:
        return _imported(source, module, name)
    return read_weights(Path(source) if source else SHIPPED)


def read_weights(path: Path) -> Weights:
    """The coefficients in `path`: JSON with `intercept` and `weights`, by name of feature. Raises ConfigError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        by_name = content["weights"]
        weights = Weights(float(content["intercept"]), tuple(float(by_name[name]) for name in FEATURES))
        usable = isfinite(weights.intercept) and all(0.0 <= weight < inf for weight in weights.weights)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"router.complexity_model: {path}: {type(error).__name__}: {error}") from error
    if not usable:
        raise ConfigError(f"router.complexity_model: {path}: all numbers must be finite, and no weight below 0")
    return weights


def _imported(source: str, module: str, name: str) -> Complexity:
    try:
        judge = getattr(import_module(module), name)
        first = float(judge(_TRIAL))
    except Exception as error:
        raise ConfigError(f"router.complexity_model: {source}: {type(error).__name__}: {error}") from error
    if not 0.0 <= first <= 1.0:
        raise ConfigError(f"router.complexity_model: {source} says {first} of a text, and must say 0 to 1")
    return _guarded(source, judge)


def _guarded(source: str, judge: Complexity) -> Complexity:
    """As `judge`, but that its failures cost no request anything."""
    told = False

    def judged(text: str) -> float:
        nonlocal told
        try:
            value = float(judge(text))
        except Exception:
            if not told:
                told = True
                logger.exception("complexity could not be judged", extra={"complexity_model": source})
            return UNKNOWN
        return min(1.0, max(0.0, value)) if not isnan(value) else UNKNOWN

    return judged
