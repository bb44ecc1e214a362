"""What the router knows about one worker's times: how long its batches take, and what the way there costs on top."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Set
from math import exp2

from services.router.queueing.batch import InFlightBatch
from sluice.domain.variant import MAX_VARIANTS, BatchTime, Variant

# How a worker's times for a variant compare with its profile just now: a ratio and its spread, learnt from results.


HALF_LIFE_S = 5.0
# What is learnt in minutes is what is usual, ...
USUAL_HALF_LIFE_S = 60.0
# ... and what differs from it is forgotten in a pause, by half in so many seconds: who is thought slow is not asked,
# and would be thought slow for ever.
PAUSE_S = 1.0
FORGOTTEN_S = 2.5
# One batch, however odd, moves the ratio no further than this many times.
WILDEST = 8.0
RATIOS = (1e-4, 1e4)
# A profile of which one of the first so many results takes less than such a part is believed no longer.
FEW = 16
REFUTED = 3.0


class SpeedFactor:
    """Actual over predicted time, as an exponentially weighted mean with its mean absolute deviation.

    The deviation stands in for the standard one, as in TCP's retransmission timer (Jacobson, 1988). While no result
    comes, what was learnt lately is forgotten towards what is usual, so that a worker that was slow once is given
    another chance. Clocks are arguments, in seconds.
    """

    __slots__ = ("_at", "_deviation", "_has_profile", "_ratio", "_usual", "samples")

    def __init__(self, *, spread: float, has_profile: bool) -> None:
        self.samples = 0
        self._has_profile = has_profile
        self._ratio = 1.0
        self._usual = 1.0
        self._deviation = spread
        self._at = float("-inf")

    def observe(self, predicted_s: float, actual_s: float, now: float) -> None:
        """A batch took `actual_s` where the profile said `predicted_s`."""
        if predicted_s <= 0.0 or not 0.0 <= actual_s < float("inf"):
            return
        before = self.ratio(now)
        seen = min(RATIOS[1], max(RATIOS[0], actual_s / predicted_s))
        known = self.samples + (1 if self._has_profile else 0)
        if known:
            seen = min(before * WILDEST, max(before / WILDEST, seen))
        weight = 1.0 / (known + 1)
        if self.samples:
            weight = max(weight, 1.0 - math.exp2(-max(0.0, (now - self._at) / HALF_LIFE_S)))
        # A device may be slow for a while, but is never fast by accident: the profile was measured on a busy one.
        is_refuted = self.samples < FEW and seen < before / REFUTED
        if is_refuted:
            weight = max(weight, 0.5)
        self._deviation += weight * (abs(seen - before) / max(before, seen) - self._deviation)
        self._ratio = before + weight * (seen - before)
        self._get_used(now, is_first=not known or is_refuted)
        self._at = now
        self.samples += 1

    def _get_used(self, now: float, *, is_first: bool) -> None:
        elapsed_s = min(HALF_LIFE_S, max(0.0, now - self._at)) if self.samples else 0.0
        weight = 1.0 if is_first else 1.0 - math.exp2(-elapsed_s / USUAL_HALF_LIFE_S)
        self._usual += weight * (self._ratio - self._usual)

    def ratio(self, now: float) -> float:
        """What to multiply the profile's times with."""
        if not self.samples:
            return self._ratio
        kept = math.exp2(-max(0.0, now - self._at - PAUSE_S) / FORGOTTEN_S)
        return self._usual + (self._ratio - self._usual) * kept

    @property
    def at(self) -> float:
        """When the last result came; minus infinity before the first."""
        return self._at

    @property
    def spread(self) -> float:
        """The mean absolute deviation, as a share of the expected time."""
        return self._deviation


# How long a device takes for a batch, read off the profile that its worker measured.
#
# Times depend on a batch's tokens in all, which is what a device's work is proportional to; between measured points
# they are interpolated. A single slow run must not scare work away for ever, so two truths correct the points: a
# larger batch takes no less time than a smaller one, and not much more than its parts would, one after the other.


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


class BatchLatencyCurve:
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

    def efficient_batch_tokens(
        self, each: float, most_items: int, pace: float, *, long_enough_s: float = LONG_ENOUGH_S
    ) -> float:
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


# Not even a first guess is nothing: the way there and back, on one machine.
FIRST_OVERHEAD_S = 0.001
# A worker may have to warm up for batches larger than this many times the largest that it has answered.
COMPARABLE = 8
# As long as a busy loop may take; what is longer is believed only little by little.
LONG_OVERHEAD_S = 0.02
MAX_KNOWN = 2 * MAX_VARIANTS


class WorkerLatencyModel:
    """Curves and paces by variant. Clocks are arguments, in seconds."""

    def __init__(self) -> None:
        self._overhead_s = FIRST_OVERHEAD_S
        self._curves: dict[str, BatchLatencyCurve] = {}
        self._paces: dict[str, SpeedFactor] = {}
        self._profiles: dict[str, tuple[BatchTime, ...]] = {}
        self._largest: dict[str, int] = {}
        self._learnt_at = float("-inf")

    def describe(self, variants: Iterable[Variant]) -> None:
        """The worker's card has come: read the profiles that are new.

        Variants that have left the card may come back, so they are forgotten only when there are many.
        """
        variants = tuple(variants)
        if len(self._profiles) > MAX_KNOWN:
            self._forget_all_but({variant.id for variant in variants})
        for variant in variants:
            if self._profiles.get(variant.id) != variant.profile:
                self._profiles[variant.id] = variant.profile
                curve = BatchLatencyCurve(variant.profile)
                self._curves[variant.id] = curve
                self._largest.pop(variant.id, None)
                self._paces[variant.id] = SpeedFactor(spread=curve.spread, has_profile=curve.measured)

    def _forget_all_but(self, wanted: Set[str]) -> None:
        for name in self._profiles.keys() - wanted:
            del self._profiles[name], self._curves[name], self._paces[name]
            self._largest.pop(name, None)

    def curve(self, variant_id: str) -> BatchLatencyCurve:
        """The profile of a variant that was described."""
        return self._curves[variant_id]

    def pace(self, variant_id: str) -> SpeedFactor:
        """How the times of a variant that was described compare with its curve."""
        return self._paces[variant_id]

    def batch_s(self, variant_id: str, tokens: float, now: float) -> float:
        """Expected device time of a batch of `tokens`."""
        return self._curves[variant_id].time_s(tokens) * self._paces[variant_id].ratio(now)

    def efficient_batch_tokens(
        self, variant_id: str, each: float, most_items: int, now: float, *, long_enough_s: float = LONG_ENOUGH_S
    ) -> float:
        """The tokens beyond which a batch of texts of `each` tokens only takes longer; 0 when nothing is known."""
        curve = self._curves[variant_id]
        if not curve.measured:
            return 0.0
        return curve.efficient_batch_tokens(
            each, most_items, self._paces[variant_id].ratio(now), long_enough_s=long_enough_s
        )

    def has_evidence(self, variant_id: str, tokens: int) -> bool:
        """Whether the worker has answered a batch of the variant that was not much smaller than `tokens`."""
        return COMPARABLE * self._largest.get(variant_id, 0) >= tokens

    def is_known(self, variant_id: str) -> bool:
        """Whether times of the variant are more than a guess."""
        return self._curves[variant_id].measured or self._paces[variant_id].samples > 0

    def learn(self, variant_id: str, *, tokens: int, compute_s: float, elapsed_s: float, now: float) -> None:
        """A batch came back: the device took `compute_s` of the `elapsed_s` for which it had nothing before it."""
        pace = self._paces.get(variant_id)
        if pace is None:
            return
        pace.observe(self._curves[variant_id].time_s(tokens), compute_s, now)
        self._largest[variant_id] = max(tokens, self._largest.get(variant_id, 0))
        before_s = self.overhead_s(now)
        seen_s = min(max(0.0, elapsed_s - compute_s), max(LONG_OVERHEAD_S, WILDEST * before_s))
        weight = max(0.05, 1.0 - exp2(-max(0.0, (now - self._learnt_at) / HALF_LIFE_S)))
        self._overhead_s = before_s + weight * (seen_s - before_s)
        self._learnt_at = now

    def overhead_s(self, now: float) -> float:
        """What a batch takes beyond the device; forgotten, like a pace, when no result comes."""
        kept = exp2(-max(0.0, (now - self._learnt_at) / HALF_LIFE_S - 1.0))
        return FIRST_OVERHEAD_S + (self._overhead_s - FIRST_OVERHEAD_S) * kept


def remaining_s(
    times: WorkerLatencyModel, batches: Iterable[InFlightBatch], *, begun_at: float, stuck: bool, now: float
) -> float:
    """How long until a worker has done its open `batches`, which come in the order of sending.

    The first was begun at `begun_at`. What takes longer than expected takes, by experience, in proportion to how long
    it has taken already; what is `stuck` as long again, and no less than a second.
    """
    total_s = 0.0
    for place, batch in enumerate(batches):
        expected_s = times.batch_s(batch.variant_id, batch.tokens, now)
        if not place:
            elapsed_s = max(0.0, now - begun_at)
            expected_s = max(expected_s - elapsed_s, 0.25 * elapsed_s)
            if stuck:
                expected_s = max(expected_s, elapsed_s, 1.0)
        total_s += expected_s
    return total_s
