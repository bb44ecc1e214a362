"""How long a device takes for a batch, read off the profile that its worker measured.

Times depend on a batch's tokens in all, which is what a device's work is proportional to; between measured points they
are interpolated. A single slow run must not scare work away for ever, so two truths correct the points: a larger batch
takes no less time than a smaller one, and not much more than its parts would, one after the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from sluice.domain.variant import BatchTime

# Attention makes long texts cost more than their share of tokens.
SUPERLINEAR = 1.5
# Before anything is known: what a small model takes on a processor.
DEFAULT_POINTS = ((16, 0.005), (8_192, 0.165))
DEFAULT_SPREAD = 0.5
SPREADS = (0.02, 1.0)
# A batch this long is long enough while somebody urgent may come, who would have to wait for it.
LONG_ENOUGH_S = 0.1
# So much dearer per token than the largest batch may a batch be for the sake of being short.
EFFICIENT = 1.25
# Once twice as much is too much. What is left out costs the devices' capacity in every batch.
FINER = (1.5, 1.25)


class BatchCurve:
    """Time by tokens. `measured` says whether it stems from a profile; `spread` is its relative mean deviation."""

    __slots__ = ("_seconds", "_tokens", "measured", "spread")

    def __init__(self, profile: Iterable[BatchTime] = ()) -> None:
        usable = [point for point in profile if point.items and point.tokens and 0 < point.time_s < float("inf")]
        self.measured = bool(usable)
        points = _plausible(usable) if usable else DEFAULT_POINTS
        self._tokens = [float(tokens) for tokens, _ in points]
        self._seconds = [seconds for _, seconds in points]
        self.spread = DEFAULT_SPREAD
        if usable:
            ratios = [min(SPREADS[1], point.deviation_s / point.time_s) for point in usable]
            self.spread = max(SPREADS[0], sum(ratios) / len(ratios))

    def time_s(self, tokens: float) -> float:
        """Expected seconds for a batch of `tokens` in all."""
        known, seconds = self._tokens, self._seconds
        place = bisect_right(known, tokens)
        if not place:
            return seconds[0]
        if place == len(known):
            return seconds[-1] * tokens / known[-1]
        low, high = known[place - 1], known[place]
        return seconds[place - 1] + (seconds[place] - seconds[place - 1]) * (tokens - low) / (high - low)

    def worth_tokens(self, each: float, most_items: int, pace: float, *, long_enough_s: float = LONG_ENOUGH_S) -> float:
        """The tokens beyond which a batch of texts of `each` tokens only takes longer; `pace` multiplies its times.

        The device is used well then, and it takes `long_enough_s`, if it can be used well in less.
        """
        most = each * most_items
        dearest = EFFICIENT * self.time_s(most) / most

        def is_worth(larger: float, size: float) -> bool:
            if size >= most:
                return False
            return self.time_s(size) > dearest * size or self.time_s(larger) * pace <= long_enough_s

        size = each
        while is_worth(2 * size, size):
            size *= 2
        for more in FINER:
            if is_worth(more * size, size):
                size *= more
        return min(size, most)


def _plausible(profile: list[BatchTime]) -> list[tuple[int, float]]:
    by_tokens: dict[int, list[float]] = {}
    for point in profile:
        by_tokens.setdefault(point.items * point.tokens, []).append(point.time_s)
    points: list[tuple[int, float]] = []
    for tokens, times in sorted(by_tokens.items()):
        seconds = sum(times) / len(times)
        bounds = [smaller_s * max(2.0, SUPERLINEAR * tokens / smaller) for smaller, smaller_s in points]
        seconds = min([seconds, *bounds])
        points.append((tokens, max(seconds, points[-1][1] if points else 0.0)))
    return points
