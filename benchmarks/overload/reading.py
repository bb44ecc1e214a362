"""What a run's results say, read for the claims that experiments make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sluice.load.kind import POOLS
from sluice.plot.series import Results


def availability(results: Results, pool: str = "all") -> float:
    """Share of what was offered to `pool` that was answered in time; 0 if nothing was offered."""
    share = results["totals"][pool]["availability"]
    return 0.0 if share is None else float(share)


def lower_bound(results: Results, pool: str = "all") -> float:
    """The lower end of the availability's Wilson interval."""
    return float(results["totals"][pool]["availability_95"][0])


def windows(results: Results, from_s: float, to_s: float) -> list[Any]:
    """The windows that begin in [from_s, to_s)."""
    return [row for row in results["windows"] if from_s <= row["at_s"] < to_s]


def kept(rows: Iterable[Any], pools: Iterable[str] = POOLS) -> float:
    """Share of what was offered in windows that was answered in time, whenever that was; 1 if nothing was offered."""
    of = [row[pool] for row in rows for pool in pools]
    offered = sum(one["offered"] for one in of)
    return float(sum(one["kept"] for one in of) / offered) if offered else 1.0


def goodput(results: Results, from_s: float, to_s: float) -> float:
    """Requests a second that were offered in [from_s, to_s) and answered in time."""
    return float(sum(row[pool]["kept"] for row in windows(results, from_s, to_s) for pool in POOLS) / (to_s - from_s))


def at_full_service(rows: Iterable[Any]) -> float | None:
    """Share of the answers in windows that name no level. None: nothing was answered."""
    counts = [row["levels"] for row in rows]
    total = sum(sum(one.values()) for one in counts)
    return sum(one.get("0", 0) for one in counts) / total if total else None


def lost(results: Results) -> dict[str, float | None]:
    """The share of conversations that were lost, of those whose end was seen; by pool, and of all."""
    counts = results["conversations"]
    ended = {pool: counts[pool]["lost"] + counts[pool]["finished"] for pool in counts}
    every = sum(ended.values())
    return {
        **{pool: counts[pool]["lost"] / ended[pool] if ended[pool] else None for pool in counts},
        "all": sum(counts[pool]["lost"] for pool in counts) / every if every else None,
    }
