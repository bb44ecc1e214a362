"""How a text shall go on: how long, how freely, and where it ends. What is wrong with it is told by its field."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sluice.errors import InvalidRequest

DEFAULT_NEW_TOKENS = 128
MOST_STOPS = 16
LONGEST_STOP_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The fields of the contract's Generation that its worker writes by."""

    max_new_tokens: int = DEFAULT_NEW_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()


def validate_sampling(sampling: Sampling) -> None:
    """Raise InvalidRequest naming the field at fault. Pure."""
    # Written so that NaN fails them too.
    if not 0.0 <= sampling.temperature < math.inf:
        raise InvalidRequest(f"the temperature is {sampling.temperature}, and must be 0 or more", field="temperature")
    if not 0.0 < sampling.top_p <= 1.0:
        raise InvalidRequest(f"top_p is {sampling.top_p}, and must lie in (0, 1]", field="top_p")
    if len(sampling.stop) > MOST_STOPS:
        raise InvalidRequest(f"there are {len(sampling.stop)} stop strings, and {MOST_STOPS} is the most", field="stop")
    for stop in sampling.stop:
        if not 0 < len(stop.encode()) <= LONGEST_STOP_BYTES:
            raise InvalidRequest(f"a stop string has 1 to {LONGEST_STOP_BYTES} bytes", field="stop")
