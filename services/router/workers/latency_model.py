"""What the router knows about one worker's times: how long its batches take, and what the way there costs on top."""

from __future__ import annotations

from collections.abc import Iterable, Set
from math import exp2

from services.router.batch_time import LONG_ENOUGH_S, BatchCurve
from services.router.pace import HALF_LIFE_S, WILDEST, Pace
from services.router.queueing.batch import OpenBatch
from sluice.domain.variant import MAX_VARIANTS, BatchTime, Variant

# Not even a first guess is nothing: the way there and back, on one machine.
FIRST_OVERHEAD_S = 0.001
# A worker may have to warm up for batches larger than this many times the largest that it has answered.
COMPARABLE = 8
# As long as a busy loop may take; what is longer is believed only little by little.
LONG_OVERHEAD_S = 0.02
MAX_KNOWN = 2 * MAX_VARIANTS


class WorkerTimes:
    """Curves and paces by variant. Clocks are arguments, in seconds."""

    def __init__(self) -> None:
        self._overhead_s = FIRST_OVERHEAD_S
        self._curves: dict[str, BatchCurve] = {}
        self._paces: dict[str, Pace] = {}
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
                curve = BatchCurve(variant.profile)
                self._curves[variant.id] = curve
                self._largest.pop(variant.id, None)
                self._paces[variant.id] = Pace(spread=curve.spread, has_profile=curve.measured)

    def _forget_all_but(self, wanted: Set[str]) -> None:
        for name in self._profiles.keys() - wanted:
            del self._profiles[name], self._curves[name], self._paces[name]
            self._largest.pop(name, None)

    def curve(self, variant_id: str) -> BatchCurve:
        """The profile of a variant that was described."""
        return self._curves[variant_id]

    def pace(self, variant_id: str) -> Pace:
        """How the times of a variant that was described compare with its curve."""
        return self._paces[variant_id]

    def batch_s(self, variant_id: str, tokens: float, now: float) -> float:
        """Expected device time of a batch of `tokens`."""
        return self._curves[variant_id].time_s(tokens) * self._paces[variant_id].ratio(now)

    def worth_tokens(
        self, variant_id: str, each: float, most_items: int, now: float, *, long_enough_s: float = LONG_ENOUGH_S
    ) -> float:
        """The tokens beyond which a batch of texts of `each` tokens only takes longer; 0 when nothing is known."""
        curve = self._curves[variant_id]
        if not curve.measured:
            return 0.0
        return curve.worth_tokens(each, most_items, self._paces[variant_id].ratio(now), long_enough_s=long_enough_s)

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


def remaining_s(times: WorkerTimes, batches: Iterable[OpenBatch], *, begun_at: float, stuck: bool, now: float) -> float:
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
