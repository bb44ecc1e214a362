"""What a run comes to: the table for people, and the file of results, in which every part says what it was taken on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.figure import Figure

LIBRARIES = ("torch", "triton", "transformers", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures by part, and why the other parts have none. `command`, `machine` and `versions` are how they came."""

    title: str
    command: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    scale: str
    figures: dict[str, Sequence[Figure]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def table(self) -> Table:
        """A line for each figure, and for each part without."""
        where = self.machine.get("accelerator", self.machine["processor"])
        made = Table(title=f"{self.title}, {self.scale}, {where}", box=None, header_style="bold", title_justify="left")
        made.add_column("what", overflow="fold")
        for column in ("target", "measured", "least", "greatest", "met"):
            made.add_column(column, justify="right")
        for figures in self.figures.values():
            for figure in figures:
                least, greatest = (f"{value:.2f}" for value in figure.spread) if figure.spread else ("", "")
                target = "" if figure.target is None else str(figure.target)
                met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.is_met]
                made.add_row(figure.what, target, f"{figure.measured:.2f}", least, greatest, met)
        for part in self.failures:
            made.add_row(part, "", "[red]failed[/]", "", "", "")
        return made

    def write(self, file: Path) -> None:
        """Add what was measured to `file`, as JSON; parts that were not measured now stay as they are.

        A smoke's figures are worth nothing, and never stand beside real ones.
        """
        circumstances = {"command": self.command, "machine": dict(self.machine), "versions": dict(self.versions)}
        measured = {
            part: circumstances | {"figures": [one.content() for one in figures]}
            for part, figures in self.figures.items()
        }
        failed = {part: circumstances | {"failed": problem} for part, problem in self.failures.items()}
        content = {"scale": self.scale, "parts": _kept(file, self.scale) | measured | failed}
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _kept(file: Path, scale: str) -> dict[str, Any]:
    """The parts of earlier runs of the same scale."""
    try:
        former: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(former.get("parts", {})) if former.get("scale") == scale else {}
