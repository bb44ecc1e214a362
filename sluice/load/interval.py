"""How far a share that was counted can be trusted."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson(successes: int, trials: int, *, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), 95 % by default; all of [0, 1] without trials."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, z * z / trials
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    # Rounding must not cast doubt on what is certain.
    low = middle - half if successes else 0.0
    return low, middle + half if successes < trials else 1.0
