"""The report of `sluice quantize`: what became of size, speed and quality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    # torch comes with these, and --help should not wait for it.
    from sluice.compression.measurement import Measurement
    from sluice.compression.report import Report


def table(report: Report) -> Table:
    """Size, speed and quality before and after."""
    made = Table(title=_title(report))
    made.add_column("")
    for measurement in (report.before, report.after):
        made.add_column(f"{measurement.precision}, {measurement.runtime}", justify="right")
    made.add_column("change", justify="right")
    before, after = report.before, report.after
    made.add_row("weights", _megabytes(before), _megabytes(after), f"x {after.size_bytes / before.size_bytes:.2f}")
    if before.items_per_s and after.items_per_s:
        ratio = f"x {after.items_per_s / before.items_per_s:.2f}"
        made.add_row("texts/s, batches of 16", f"{before.items_per_s:.0f}", f"{after.items_per_s:.0f}", ratio)
    for name, was, became in _qualities(report):
        made.add_row(name, f"{was:.2%}", f"{became:.2%}", f"{100 * (became - was):+.2f} points")
    return made


def _qualities(report: Report) -> Iterator[tuple[str, float, float]]:
    names = {
        "accuracy": f"accuracy on {report.examples} texts",
        "cosine": f"cosine to fp32 on {report.examples} texts",
        "least_cosine": "that of the worst text",
        "same_neighbour": "texts with the same nearest other",
    }
    for key, name in names.items():
        was, became = getattr(report.before.quality, key), getattr(report.after.quality, key)
        if was is not None and became is not None:
            yield name, was, became


def _title(report: Report) -> str:
    said = f"{report.settings.method} weights, activations {report.activations()}"
    if report.removed:
        heads = f"{report.removed.heads} of {report.removed.of_heads} heads"
        neurons = f"{report.removed.neurons} of {report.removed.of_neurons} neurons"
        said += f"; {heads} and {neurons} removed from each layer"
    return said


def _megabytes(measurement: Measurement) -> str:
    return f"{measurement.size_bytes / 1e6:.2f} MB"
