"""What a run comes to: the table for people, and the file of results that others read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.figure import Figure

LIBRARIES = ("onnxruntime", "openvino", "torch", "torchao", "transformers", "tokenizers", "grpcio", "sluice")

QUIET = 0.25
"""The load average a core that others may cause without spoiling a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures by row, and why the other rows have none. `machine` and `versions` are what they were taken on."""

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    scale: str
    figures: dict[str, Sequence[Figure]] = field(default_factory=dict)
    load_before: dict[str, float] = field(default_factory=dict)
    """The machine's load average when a row began: what others did beside it."""
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def busy(self) -> float:
        """The load average that the run began with, if that is more than measurements bear; else 0."""
        first = next(iter(self.load_before.values()), 0.0)
        return first if first > QUIET * self.machine["granted_cores"] else 0.0

    def table(self) -> Table:
        """A line for each figure, and for each row without."""
        made = Table(title=f"CPU tiers, {self.scale}", box=None, header_style="bold", title_justify="left")
        made.add_column("what", overflow="fold")
        for column in ("target", "measured", "least", "greatest", "met"):
            made.add_column(column, justify="right")
        for figures in self.figures.values():
            for figure in figures:
                least, greatest = (f"{value:.2f}" for value in figure.spread) if figure.spread else ("", "")
                met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.is_met]
                target = "" if figure.target is None else str(figure.target)
                made.add_row(figure.what, target, f"{figure.measured:.2f}", least, greatest, met)
        for row in self.failures:
            made.add_row(row, "", "[red]failed[/]", "", "", "")
        return made

    def write(self, file: Path) -> None:
        """Write the figures as JSON. Rows in `file` that were not measured now stay if nothing else has changed."""
        content: dict[str, Any] = {"scale": self.scale, "machine": dict(self.machine), "versions": dict(self.versions)}
        rows: dict[str, Any] = {
            row: {"load_before": round(self.load_before[row], 2), "figures": [one.content() for one in figures]}
            for row, figures in self.figures.items()
        }
        failed = {row: {"failed": problem} for row, problem in self.failures.items()}
        content["rows"] = _kept(file, content) | rows | failed
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _kept(file: Path, circumstances: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of an earlier run in the same circumstances."""
    try:
        former: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_same = all(former.get(name) == value for name, value in circumstances.items())
    return dict(former.get("rows", {})) if is_same else {}
