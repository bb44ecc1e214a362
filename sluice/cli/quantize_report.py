"""The report of `sluice quantize`: what became of size, speed and accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    # torch comes with these, and --help should not wait for it.
    from sluice.compression.measurement import Measurement
    from sluice.compression.report import Report


def table(report: Report) -> Table:
    """Size, speed and accuracy before and after."""
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
    if before.accuracy is not None and after.accuracy is not None:
        points = f"{100 * (after.accuracy - before.accuracy):+.2f} points"
        made.add_row(f"accuracy on {report.examples} texts", f"{before.accuracy:.2%}", f"{after.accuracy:.2%}", points)
    return made


def _title(report: Report) -> str:
    said = f"{report.settings.method} weights, activations {report.activations()}"
    if report.removed:
        heads = f"{report.removed.heads} of {report.removed.of_heads} heads"
        neurons = f"{report.removed.neurons} of {report.removed.of_neurons} neurons"
        said += f"; {heads} and {neurons} removed from each layer"
    return said


def _megabytes(measurement: Measurement) -> str:
    return f"{measurement.size_bytes / 1e6:.2f} MB"
