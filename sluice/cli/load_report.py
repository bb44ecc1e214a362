"""What `sluice load` shows: a line a second while it goes on, and tables when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sluice.load.kind import POOLS, Kind, pool_of
from sluice.load.run import Recording
from sluice.load.window import Window

RECENT = 12
_FRESH_S = 1.0


def progress(recording: Recording) -> Table:
    """The last complete windows of a run that goes on."""
    table = _table("second", "offered", "ok", "hot ok", "refused", "failed", "p99 ms", "queue ms", "level")
    windows, window_s = recording.tally.windows, recording.plan.window_s
    for place in sorted(windows)[-RECENT:]:
        window = windows[place]
        ended = {kind: _sum(window, kind) for kind in Kind}
        failed = sum(ended.values()) - ended[Kind.OK] - ended[Kind.REFUSED]
        levels = window.group("level")
        table.add_row(
            f"{place * window_s:g}",
            f"{_sum(window, 'offered') / window_s:.0f}",
            f"{ended[Kind.OK] / window_s:.0f}",
            f"{window.counts[f'{pool_of(True)}.{Kind.OK}'] / window_s:.0f}",
            f"{ended[Kind.REFUSED] / window_s:.0f}",
            f"{failed / window_s:.0f}",
            _ms(max((window.histograms[f"{pool}.latency"].percentile_ms(0.99) or 0.0 for pool in POOLS), default=0.0)),
            _ms(window.histograms["queue"].percentile_ms(0.5)),
            max(levels, key=lambda name: levels[name], default=""),
        )
    return table


def report(results: Mapping[str, Any]) -> Group:
    """The tables of a run that has ended. `at least` is the lower end of the Wilson interval of 95 %."""
    columns = (*POOLS, "all")
    rows = [results["totals"][pool] for pool in columns]
    main = _table("", *columns)
    for name in ("offered", *Kind):
        main.add_row(name, *(f"{row[name]:,}" for row in rows))
    main.add_row("in time", *(f"{row['availability'] or 0:.4%}" for row in rows), style="bold")
    main.add_row("  at least", *(f"{row['availability_95'][0]:.4%}" for row in rows))
    for name, label in (("p50", "p50 ms"), ("p99", "p99 ms"), ("p999", "p99.9 ms")):
        main.add_row(label, *(_ms(row["latency_ms"][name]) for row in rows))
    parts: list[Table | Text] = [main, _facts(results)]
    parts += [Text(f"NOT VALID: {problem}", style="bold red") for problem in results["problems"]]
    return Group(*parts)


def _facts(results: Mapping[str, Any]) -> Table:
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim")
    facts.add_column()
    for name in ("statuses", "tiers", "levels"):
        facts.add_row(name, "   ".join(f"{key}: {count:,}" for key, count in results[name].items()))
    if results["accuracy"] is not None:
        facts.add_row("right labels", f"{results['accuracy']:.2%} of the answers whose label is known")
    for pool, counts in (results["conversations"] or {}).items():
        lost = counts["lost_ratio"]
        rest = ", ".join(f"{counts[name]:,} {name}" for name in ("begun", "finished", "lost", "unfinished"))
        facts.add_row(f"{pool} conversations", f"{rest}; {'none has ended' if lost is None else f'{lost:.2%} lost'}")
    generator = results["generator"]
    lag_ms, cost = generator["lag_ms"], generator["cpu_us_per_request"]
    facts.add_row(
        "refused within", f"p50 {_ms(results['refusal_ms']['p50'])} ms, p99 {_ms(results['refusal_ms']['p99'])} ms"
    )
    facts.add_row(
        "generator", f"late by p50 {_ms(lag_ms['p50'])} ms, p99 {_ms(lag_ms['p99'])} ms; {cost} µs of CPU a request"
    )
    return facts


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _sum(window: Window, name: str) -> int:
    return sum(window.counts[f"{pool}.{name}"] for pool in POOLS)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
