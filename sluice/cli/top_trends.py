"""What the fleet's signals did in the last minute, as lines of little bars."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from sluice.control.degradation.report import Report
from sluice.control.fleet import Fleet
from sluice.domain.enums import MemberKind

READINGS = 60
BARS = "▁▂▃▄▅▆▇█"
UNKNOWN = "·"


@dataclass(frozen=True, slots=True)
class Trend:
    """A signal: how it is read from a fleet, what fills its highest bar (None: its own maximum), how it is written."""

    name: str
    read: Callable[[Fleet], float | None]
    full: float | None
    write: Callable[[float], str]


def goodput(fleet: Fleet) -> float | None:
    """Requests a second that were answered in time, at all routers. None: no router has reported."""
    reports = [one.report for one in fleet.members if one.kind is MemberKind.ROUTER and one.report is not None]
    return sum(map(_answered, reports)) if reports else None


def _answered(report: Report) -> float:
    refused, missed = report.refused_ratio or 0.0, report.deadline_miss_ratio or 0.0
    return report.requests_per_second * (1.0 - refused) * (1.0 - missed)


def _share(value: float) -> str:
    return f"{value:.0%}"


TRENDS = (
    Trend("answered in time", goodput, None, lambda value: f"{value:,.0f}/s"),
    Trend("refused", lambda fleet: fleet.signals.refused_ratio, 1.0, _share),
    Trend("missed deadline", lambda fleet: fleet.signals.deadline_miss_ratio, 1.0, _share),
    Trend("queue", lambda fleet: fleet.signals.delay_s, None, lambda value: f"{value * 1000:.0f} ms"),
    Trend("accelerators busy", lambda fleet: fleet.signals.utilization, 1.0, _share),
    Trend("memory", lambda fleet: fleet.signals.memory_anywhere, 1.0, _share),
    Trend("level", lambda fleet: float(max(fleet.directive.levels, default=0)), 3.0, lambda value: f"{value:.0f}"),
)


class Trends:
    """The last readings of every signal."""

    def __init__(self) -> None:
        self._readings: dict[str, deque[float | None]] = {one.name: deque(maxlen=READINGS) for one in TRENDS}

    def add(self, fleet: Fleet) -> None:
        """Take a reading."""
        for trend in TRENDS:
            self._readings[trend.name].append(trend.read(fleet))

    def table(self) -> Table:
        """A line for each signal: what it is now, and how it came to that."""
        table = Table(box=None, show_header=False, pad_edge=False)
        for justify in ("left", "right", "left"):
            table.add_column(justify=justify)
        for trend in TRENDS:
            readings = self._readings[trend.name]
            now = readings[-1] if readings else None
            written = "–" if now is None else trend.write(now)
            table.add_row(Text(trend.name, style="dim"), written, Text(sparkline(readings, trend.full), style="cyan"))
        return table


def sparkline(values: Sequence[float | None], full: float | None = None) -> str:
    """A bar for each value, the highest at `full` and above, or at the greatest of them; a dot where there is none."""
    known = [one for one in values if one is not None]
    top = full if full is not None else max(known, default=0.0)
    return "".join(UNKNOWN if one is None else BARS[_height(one, top)] for one in values)


def _height(value: float, top: float) -> int:
    share = value / top if top > 0 else 0.0
    return min(len(BARS) - 1, max(0, int(share * len(BARS))))
