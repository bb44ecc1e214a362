"""What the demo shows: a row for each request, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table

from sluice.cli.demo_requests import Example
from sluice.client.answer import Answer
from sluice.errors import SluiceError
from sluice.tier import Tier

MIN_ACCURACY = 0.90
TEXT_WIDTH = 44


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


def table(records: Sequence[Record]) -> Table:
    """A row for each request, in the file's order."""
    rows = Table(title="Requests", box=None, header_style="bold", pad_edge=False)
    for column in ("#", "text", "label", "", "tier", "variant", "worker", "queue ms", "compute ms", "trace id"):
        rows.add_column(column, justify="right" if column in {"#", "queue ms", "compute ms"} else "left", no_wrap=True)
    for record in records:
        query, outcome = record.example.query, record.outcome
        text = query.text if len(query.text) <= TEXT_WIDTH else query.text[: TEXT_WIDTH - 1] + "…"
        number = str(record.place + 1)
        if isinstance(outcome, SluiceError):
            rows.add_row(number, text, f"[red]{outcome.reason}[/]", "[red]✗[/]")
            continue
        mark = "[green]✓[/]" if record.is_right else "[red]✗[/]"
        queue_ms, compute_ms = f"{outcome.queue_ms:.1f}", f"{outcome.compute_ms:.1f}"
        variant = outcome.variant.rpartition("/")[2]
        worker = outcome.worker.partition("@")[0]
        trace = outcome.trace_id
        rows.add_row(
            number, text, outcome.label, mark, outcome.tier.label, variant, worker, queue_ms, compute_ms, trace
        )
    return rows


def summary(records: Sequence[Record]) -> Group:
    """Requests, accuracy and latency by tier, and overall."""
    rows = Table(title="Summary", box=None, header_style="bold", pad_edge=False, title_justify="left")
    for column in ("tier", "requests", "accuracy", "p50 ms", "p99 ms"):
        rows.add_column(column, justify="left" if column == "tier" else "right")
    for tier in (Tier.FULL, Tier.LIGHT, Tier.QUANTIZED):
        part = [one for one in records if isinstance(one.outcome, Answer) and one.outcome.tier is tier]
        rows.add_row(tier.label, *_figures(part))
    rows.add_row("all", *_figures(records), style="bold")
    failed = sum(isinstance(one.outcome, SluiceError) for one in records)
    return Group("", rows, f"{failed} requests failed" if failed else "")


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
    found += [f"tier {tier.label} answered nothing" for tier in Tier if tier and tier not in used]
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of `values`, which are not empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


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
