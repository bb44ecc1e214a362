"""A histogram of durations over nine decades, in buckets of equal ratio, that adds up across processes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

PER_OCTAVE = 16
LEAST_MS = 0.01


class Histogram:
    """Counts of milliseconds. A bucket is 1/16 of an octave wide, so a percentile is at most 4.4 % too high."""

    __slots__ = ("buckets",)

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: defaultdict[int, int] = defaultdict(int, buckets or {})

    def add(self, value_ms: float) -> None:
        """Count one duration; what is shorter than a hundredth of a millisecond counts as that."""
        self.buckets[math.floor(math.log2(value_ms if value_ms > LEAST_MS else LEAST_MS) * PER_OCTAVE)] += 1

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] += count

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.buckets.values())

    def percentile_ms(self, share: float) -> float | None:
        """What `share` of the durations do not exceed: the upper edge of their bucket. None if there are none."""
        left = math.ceil(self.count * share)
        for bucket in sorted(self.buckets):
            left -= self.buckets[bucket]
            if left <= 0:
                return 2 ** ((bucket + 1) / PER_OCTAVE)
        return None

    def mean_ms(self) -> float | None:
        """The mean, taking each duration for the middle of its bucket. None if there are none."""
        total = sum(2 ** ((bucket + 0.5) / PER_OCTAVE) * count for bucket, count in self.buckets.items())
        return total / self.count if self.count else None

    def summary(self) -> dict[str, float | None]:
        """The percentiles that reports show, in milliseconds."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
        return {name: _rounded(self.percentile_ms(share)) for name, share in shares.items()}

    def to_json(self) -> dict[str, int]:
        """The buckets' counts, by the exponent of their lower edge in sixteenths."""
        return {str(bucket): self.buckets[bucket] for bucket in sorted(self.buckets)}

    @classmethod
    def from_json(cls, values: Mapping[str, int]) -> Histogram:
        """What `to_json` gave."""
        return cls({int(bucket): count for bucket, count in values.items()})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
