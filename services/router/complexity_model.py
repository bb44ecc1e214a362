"""Where the router's judgement of complexity comes from: the coefficients it ships with, a file, or a callable."""

from __future__ import annotations

import json
import logging
from importlib import import_module
from math import inf, isfinite, isnan
from pathlib import Path

from services.router.scheduling.complexity import FEATURES, Complexity, Weights
from sluice.runtime.config import ConfigError

SHIPPED = Path(__file__).with_name("complexity.json")
UNKNOWN = 0.5
_TRIAL = "Where is my parcel?"

logger = logging.getLogger(__name__)


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
