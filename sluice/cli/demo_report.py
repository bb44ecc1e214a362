"""What the demo shows: a row for each request, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sluice.cli.demo_requests import Example
from sluice.client.answer import Answer
from sluice.domain.enums import Tier
from sluice.domain.errors import Expired, Saturated, SluiceError

MIN_ACCURACY = 0.90
COLUMNS = ("#", "text", "label", "", "tier", "variant", "worker", "queue ms", "compute ms", "trace id")
TIERS = (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED)
_NUMERIC = frozenset({"#", "queue ms", "compute ms"})
_STYLES = {Tier.FULL: "cyan", Tier.LIGHT: "green", Tier.QUANTIZED: "magenta"}
_TEXT, _TRACE = COLUMNS.index("text"), COLUMNS.index("trace id")
_LEAST_TEXT, _LEAST_TRACE = 16, 9
_GAP = 2
_BAR = 24
_LISTED = 8
_BUSY_PER_CORE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request and what came of it."""

    example: Example
    place: int
    outcome: Answer | SluiceError

    @property
    def is_right(self) -> bool:
        """Whether the label is the one in the file."""
        return isinstance(self.outcome, Answer) and self.outcome.label == self.example.label


def table(records: Sequence[Record], *, width: int) -> Table:
    """A row for each request, `width` columns wide: texts take what the rest leaves, and trace ids yield last."""
    rows = [_row(record) for record in records]
    widths = [max(Text(name).cell_len, *(row[place].cell_len for row in rows)) for place, name in enumerate(COLUMNS)]
    rest = width - sum(widths) + widths[_TEXT] - _GAP * (len(COLUMNS) - 1)
    widths[_TRACE] = max(_LEAST_TRACE, widths[_TRACE] - max(0, _LEAST_TEXT - rest))
    widths[_TEXT] = max(_LEAST_TEXT, min(widths[_TEXT], rest))
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for name, columns in zip(COLUMNS, widths, strict=True):
        shown.add_column(name, justify="right" if name in _NUMERIC else "left", width=columns, no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    return shown


def summary(records: Sequence[Record], *, took_s: float) -> Group:
    """Requests, accuracy and latency by tier and overall, what was wrong, and how long all of it took."""
    rows = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in ("tier", "requests", "", "accuracy", "p50 ms", "p99 ms"):
        rows.add_column(column, justify="left" if column in {"tier", ""} else "right")
    for tier in TIERS:
        part = [one for one in records if isinstance(one.outcome, Answer) and one.outcome.tier is tier]
        style = _STYLES[tier]
        bar = Text("━" * round(_BAR * len(part) / len(records)), style=style)
        requests, *figures = _figures(part)
        rows.add_row(Text(tier.label, style=style), requests, bar, *figures)
    requests, *figures = _figures(records)
    rows.add_row("all", requests, "", *figures, style="bold")
    rate = len(records) / max(took_s, 1e-9)
    total = Text(f"{len(records)} requests in {took_s:.1f} s, {rate:,.0f} per second", style="bold")
    return Group("", total, "", rows, "", *_wrong(records))


def problems(examples: Sequence[Example], records: Sequence[Record]) -> list[str]:
    """What keeps the demo from being a success, in words; empty if nothing does."""
    found = []
    answered = [record for record in records if isinstance(record.outcome, Answer)]
    if len(answered) != len(examples):
        found.append(f"{len(examples) - len(answered)} of {len(examples)} requests were not answered")
    accuracy = sum(record.is_right for record in records) / len(examples)
    if accuracy < MIN_ACCURACY:
        found.append(f"the accuracy is {accuracy:.1%}, and {MIN_ACCURACY:.0%} was expected")
    used = {record.outcome.tier for record in answered if isinstance(record.outcome, Answer)}
    found += [f"tier {tier.label} answered nothing" for tier in TIERS if tier not in used]
    return found


def busy_note(records: Sequence[Record], *, load: float, cores: int) -> str:
    """What may explain requests that were not answered: others who use the machine. Empty if nothing needs it.

    `load` is the machine's load average, of which the demo itself makes up to two a core.
    """
    late = sum(isinstance(one.outcome, Expired | Saturated) for one in records)
    if not late or load <= _BUSY_PER_CORE * cores:
        return ""
    return (
        f"This machine is busy: its load is {load:.0f} on {cores} cores. The requests have 1 to 5 seconds each, and "
        f"{late} of them were refused or late for want of time. Try again when it is quieter."
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of `values`, which are not empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _row(record: Record) -> tuple[Text, ...]:
    outcome = record.outcome
    beginning = (Text(str(record.place + 1), style="dim"), Text(" ".join(record.example.query.text.split())))
    if isinstance(outcome, SluiceError):
        return (*beginning, Text(str(outcome.reason), style="red"), Text("✗", style="red"), *[Text()] * 6)
    mark = Text("✓", style="green") if record.is_right else Text("✗", style="red")
    return (
        *beginning,
        Text(outcome.label),
        mark,
        Text(outcome.tier.label, style=_STYLES.get(outcome.tier, "")),
        Text(outcome.variant.rpartition("/")[2]),
        Text(outcome.worker.partition("@")[0]),
        Text(f"{outcome.queue_ms:.1f}"),
        Text(f"{outcome.compute_ms:.1f}"),
        Text(outcome.trace_id, style="dim"),
    )


def _wrong(records: Sequence[Record]) -> list[Text]:
    """A line for each of the first requests that failed or were answered wrongly."""
    wrong = [record for record in records if not record.is_right]
    lines = []
    for record in wrong[:_LISTED]:
        outcome = record.outcome
        said = outcome.label if isinstance(outcome, Answer) else f"{outcome.reason}: {outcome.message}"
        lines.append(Text.assemble(("✗ ", "red"), f"#{record.place + 1} wants {record.example.label}, got {said}"))
    if len(wrong) > _LISTED:
        lines.append(Text(f"  and {len(wrong) - _LISTED} more", style="dim"))
    return lines


def _figures(records: Sequence[Record]) -> tuple[str, ...]:
    times = [
        record.outcome.queue_ms + record.outcome.batch_ms + record.outcome.compute_ms
        for record in records
        if isinstance(record.outcome, Answer)
    ]
    if not times:
        return (str(len(records)), "", "", "")
    accuracy = sum(record.is_right for record in records) / len(records)
    return (str(len(records)), f"{accuracy:.1%}", f"{percentile(times, 0.5):.1f}", f"{percentile(times, 0.99):.1f}")
