"""What an experiment came to: its claims, its figures, and the runs that its pictures show."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.overload.check import Check
from sluice.plot.drawing import draw
from sluice.plot.series import Results


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`cast` says who played. `pictures` are runs by name, those of one picture together; `notes` are sentences.

    `problems` are those of the generator: a claim that rests on a run in which it was late is to be doubted.
    """

    title: str
    cast: dict[str, Any]
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, list[tuple[str, Results]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every claim holds."""
        return all(check.passed for check in self.checks)

    def write(self, directory: Path, name: str, *, quick: bool, keep_runs: bool) -> None:
        """Write `name`.json and its pictures; with `keep_runs` also each run, as `sluice plot` reads it."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {
            "title": self.title,
            "quick": quick,
            "machine": {"cores": os.cpu_count(), "processor": _processor(), "python": platform.python_version()},
            "passed": self.passed,
            "problems": self.problems,
            "checks": [asdict(check) for check in self.checks],
            "figures": self.figures,
            "notes": self.notes,
            "cast": self.cast,
        }
        (directory / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        for picture, runs in self.pictures.items():
            stem = f"{name}-{picture}" if picture else name
            draw(runs, directory / f"{stem}.png", title=f"{self.title} {picture}".strip())
            for run, results in runs if keep_runs else ():
                (directory / f"{stem}-{run}.run.json").write_text(json.dumps(results) + "\n", encoding="utf-8")


def _processor() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
