"""The mix of lengths that mixed batches are measured with."""

from __future__ import annotations

import random

SHORTEST, LONGEST = 8, 256


def lengths(dice: random.Random, count: int) -> list[int]:
    """Token counts from SHORTEST to LONGEST, log-normal with a median of 45."""
    return [min(max(int(dice.lognormvariate(3.8, 0.8)), SHORTEST), LONGEST) for _ in range(count)]
