"""The panels of a picture: what is offered and answered, how long that takes, and what the governor sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice.load.kind import POOLS
from sluice.plot.series import Line, Results, latency, per_second, queue, signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOT, COLD, GREY, REFUSED, QUEUE = "#c1121f", "#1d6996", "#777777", "#e09f3e", "#2a9d8f"
RUNS = ("#1d6996", "#c1121f", "#2a9d8f", "#8e44ad", "#e09f3e")
COLOURS = dict(zip(POOLS, (HOT, COLD), strict=True))
LOST = ("late", "expired", "silent", "failed", "unsent")
# The mission's thresholds, as far as the governor of a run had no other ones.
THRESHOLDS = {"utilization": 0.90, "memory": 0.85}
SIGNALS = {"utilization": "#8e44ad", "memory": "#2a9d8f", "deadline_miss_ratio": "#c1121f"}


def rates(axes: Axes, results: Results) -> None:
    """Offered and answered in time, of each pool; refused and otherwise failed, of both."""
    for pool in POOLS:
        _plot(axes, per_second(results, "offered", pools=(pool,)), COLOURS[pool], f"{pool} offered", linestyle=":")
        _plot(axes, per_second(results, "ok", pools=(pool,)), COLOURS[pool], f"{pool} ok")
    _plot(axes, per_second(results, "refused"), REFUSED, "refused", linewidth=1)
    _plot(axes, per_second(results, *LOST), "black", "late or failed", linewidth=1)
    axes.set_ylabel("requests a second")
    axes.set_ylim(bottom=0)


def times(axes: Axes, results: Results) -> None:
    """Latency of each pool, the time in the queue, and the deadline, in milliseconds."""
    for pool in POOLS:
        _plot(axes, latency(results, pool, "p99"), COLOURS[pool], f"{pool} p99")
        _plot(axes, latency(results, pool, "p50"), COLOURS[pool], f"{pool} p50", linestyle="--", linewidth=1)
    _plot(axes, queue(results, "p50"), QUEUE, "queue p50")
    _plot(axes, queue(results, "p99"), QUEUE, "queue p99", linestyle="--", linewidth=1)
    _times_axis(axes, results)


def compared_rates(axes: Axes, runs: Sequence[tuple[str, Results]]) -> None:
    """What the first run was offered, and what each answered in time."""
    _plot(axes, per_second(runs[0][1], "offered"), GREY, "offered", linestyle=":")
    for (name, results), colour in zip(runs, _colours(len(runs)), strict=True):
        _plot(axes, per_second(results, "ok"), colour, f"{name}: ok")
        _plot(axes, per_second(results, "ok", pools=("hot",)), colour, f"{name}: hot ok", linestyle="--", linewidth=1)
    axes.set_ylabel("requests a second")
    axes.set_ylim(bottom=0)


def compared_times(axes: Axes, runs: Sequence[tuple[str, Results]]) -> None:
    """Latency of cold requests, and the time in the queue, of each run."""
    for (name, results), colour in zip(runs, _colours(len(runs)), strict=True):
        _plot(axes, latency(results, "cold", "p99"), colour, f"{name}: cold p99")
        _plot(axes, queue(results, "p50"), colour, f"{name}: queue p50", linestyle="--", linewidth=1)
    _times_axis(axes, runs[0][1])


def signals(axes: Axes, results: Results) -> None:
    """What arms the levels, with the thresholds."""
    for name, colour in SIGNALS.items():
        _plot(axes, signal(results, name), colour, name.replace("_", " "))
    for name, threshold in THRESHOLDS.items():
        axes.axhline(threshold, color=SIGNALS[name], linestyle=":", linewidth=1)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share")


def waiting(axes: Axes, results: Results) -> None:
    """How many requests of each pool wait in the routers."""
    for pool in POOLS:
        _plot(axes, signal(results, f"{pool}_queued"), COLOURS[pool], f"{pool} waiting")
    axes.set_ylabel("requests that wait")
    axes.set_ylim(bottom=0)


def _times_axis(axes: Axes, results: Results) -> None:
    axes.axhline(results["plan"]["deadline_s"] * 1000, color="black", linestyle=":", linewidth=1, label="deadline")
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")


def _colours(count: int) -> list[str]:
    return [RUNS[place % len(RUNS)] for place in range(count)]


def _plot(axes: Axes, line: Line, colour: str, label: str, **style: Any) -> None:
    if not line.is_empty:
        values = [float("nan") if value is None else value for value in line.values]
        axes.plot(line.at_s, values, color=colour, label=label, **{"linewidth": 1.6, **style})
