"""What a run's results say over time, as lines and bands: everything about a picture but the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.load.kind import POOLS

ROUNDING_S = 1e-6
# The fleet is recorded several times a second; after so long without, nothing is known of it.
SILENCE_S = 1.0
Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """Values over instants in seconds; None is a gap, where nothing was measured."""

    at_s: tuple[float, ...]
    values: tuple[float | None, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value is not None for value in self.values)


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time in which a degradation level was in force."""

    level: int
    from_s: float
    to_s: float


def per_second(results: Results, *names: str, pools: Sequence[str] = POOLS) -> Line:
    """Counts of each whole window (`offered`, `ok`, `refused`, …), a second, summed over `names` and `pools`."""
    plan = results["plan"]

    def rate(row: Mapping[str, Any]) -> float | None:
        # What ends behind the last arrival fills no window.
        is_whole = row["at_s"] + plan["window_s"] <= plan["duration_s"] + ROUNDING_S
        return sum(row[pool].get(name, 0) for pool in pools for name in names) / plan["window_s"] if is_whole else None

    return _over_windows(results, rate)


def latency(results: Results, pool: str, percentile: str) -> Line:
    """Milliseconds from the scheduled instant to the answer."""
    return _over_windows(results, lambda row: row[pool]["latency_ms"][percentile])


def queue(results: Results, percentile: str) -> Line:
    """Milliseconds in the router's queue, as the answers tell."""
    return _over_windows(results, lambda row: row["queue_ms"][percentile])


def signal(results: Results, name: str) -> Line:
    """A signal of the fleet, with a gap where nobody measured it or the governor could not be reached."""
    points: list[tuple[float, float | None]] = []
    for row in results["fleet"]:
        if points and row["at_s"] - points[-1][0] > SILENCE_S:
            points.append((points[-1][0], None))
        points.append((row["at_s"], row.get(name)))
    return Line(tuple(at_s for at_s, _ in points), tuple(value for _, value in points))


def bands(results: Results) -> tuple[Band, ...]:
    """When which level was in force: by the governor's word, or, where no fleet was recorded, by the answers'."""
    rows = [(row["at_s"], row["levels"]) for row in results["fleet"] if "levels" in row]
    if not rows:
        rows = [(row["at_s"], _levels(row["levels"])) for row in results["windows"]]
    end_s = max((row["at_s"] for row in results["windows"]), default=0.0) + results["plan"]["window_s"]
    found: list[Band] = []
    begun: dict[int, float] = {}
    for at_s, levels in [*rows, (end_s, [])]:
        found.extend(Band(level, begun.pop(level), at_s) for level in begun.keys() - set(levels))
        for level in levels:
            begun.setdefault(level, at_s)
    return tuple(sorted(found, key=lambda band: (band.from_s, band.level)))


def _levels(counts: Mapping[str, int]) -> list[int]:
    """The levels that most answers of a window name."""
    most = max(counts, key=lambda name: counts[name], default="0")
    return [int(level) for level in most.split("+") if level != "0"]


def _over_windows(results: Results, value: Any) -> Line:
    rows = results["windows"]
    return Line(tuple(row["at_s"] for row in rows), tuple(value(row) for row in rows))
