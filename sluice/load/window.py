"""What happened in one stretch of a run. Windows of several processes add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sluice.load.histogram import Histogram
from sluice.load.kind import POOLS, Kind


class Window:
    """Counts and histograms of one window.

    `counts` holds, for each pool, what was `offered` (by the instant it was scheduled for), how much of that came to
    be `kept` (answered in time, whenever that was), and how requests ended (by the instant they ended); besides
    attempts as `sent`, answers by `tier.NAME` and by the levels in force as `level.1+3`.
    """

    __slots__ = ("counts", "histograms")

    def __init__(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.histograms: defaultdict[str, Histogram] = defaultdict(Histogram)

    def merge(self, other: Window) -> None:
        """Add another's."""
        for name, count in other.counts.items():
            self.counts[name] += count
        for name, histogram in other.histograms.items():
            self.histograms[name].merge(histogram)

    def to_json(self) -> dict[str, Any]:
        """For another process of the run."""
        histograms = {name: one.to_json() for name, one in self.histograms.items()}
        return {"counts": dict(self.counts), "histograms": histograms}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Window:
        """What `to_json` gave."""
        window = cls()
        window.counts.update(values["counts"])
        for name, buckets in values["histograms"].items():
            window.histograms[name] = Histogram.from_json(buckets)
        return window

    def report(self, at_s: float) -> dict[str, Any]:
        """For the results: a window that begins at `at_s`."""
        counts = self.counts
        row: dict[str, Any] = {"at_s": round(at_s, 3), "sent": counts["sent"]}
        for pool in POOLS:
            row[pool] = {name: counts[f"{pool}.{name}"] for name in ("offered", "kept", *Kind)}
            row[pool]["latency_ms"] = self.histograms[f"{pool}.latency"].summary()
        row["queue_ms"] = self.histograms["queue"].summary()
        return row | {"tiers": self.group("tier"), "levels": self.group("level")}

    def group(self, prefix: str) -> dict[str, Any]:
        """The counts whose names begin with `prefix` and a dot, without that."""
        start = len(prefix) + 1
        return {name[start:]: count for name, count in sorted(self.counts.items()) if name.startswith(f"{prefix}.")}
