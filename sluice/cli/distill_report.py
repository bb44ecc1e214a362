"""The report of `sluice distill`: the student beside its teacher, and how like it became."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    # torch comes with these, and --help should not wait for it.
    from sluice.distillation.fidelity import Closeness
    from sluice.distillation.report import Report, Side

_NAMES = {"agreement": "agreement", "kl": "KL divergence", "cosine": "cosine", "distance": "relative distance"}


def comparison(report: Report) -> Table:
    """Shape, size and accuracy of both models."""
    teacher, student, training = report.teacher, report.student, report.training
    made = Table(title=f"{training.steps} steps of {training.step_ms:.0f} ms, {training.device}, {training.precision}")
    made.add_column("")
    for name in ("teacher", "student", "change"):
        made.add_column(name, justify="right")
    made.add_row("architecture", _shape(teacher), _shape(student), "")
    for name, unit, before, after in (
        ("parameters", "M", teacher.parameters, student.parameters),
        ("weights", "MB", teacher.size_bytes, student.size_bytes),
    ):
        made.add_row(name, f"{before / 1e6:.2f} {unit}", f"{after / 1e6:.2f} {unit}", f"x {after / before:.2f}")
    if teacher.accuracy is not None and student.accuracy is not None and report.points is not None:
        right = (f"{one.overall:.2%}" for one in (teacher.accuracy, student.accuracy))
        made.add_row(f"accuracy on {_texts(report)}", *right, f"{-report.points:+.2f} points")
    return made


def fidelity(report: Report) -> Table:
    """How like its teacher the student is, by complexity."""
    made = Table(title=f"student against teacher, on {_texts(report)}")
    made.add_column(report.after.bucketed_by)
    for name in ("texts", *(_NAMES[one] for one in report.names)):
        made.add_column(name, justify="right")
    for place, one in enumerate(report.after.by_bucket):
        made.add_row(f"{place / 8:.3f} to {(place + 1) / 8:.3f}", *_cells(report, one))
    made.add_section()
    made.add_row("all, before it learned", *_cells(report, report.before))
    made.add_row("all", *_cells(report, report.after.overall), style="bold")
    return made


def _cells(report: Report, one: Closeness) -> tuple[str, str, str]:
    agreement, distance = report.names
    return str(one.examples), _shown(agreement, one.agreement), _shown(distance, one.distance)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" if name == "agreement" else f"{value:.4f}"


def _texts(report: Report) -> str:
    return (
        f"{report.after.overall.examples} texts {'held out' if report.measured_on == 'held out' else 'of --evaluate'}"
    )


def _shape(side: Side) -> str:
    return f"{side.architecture}, {side.layers} layers" if side.layers else side.architecture
