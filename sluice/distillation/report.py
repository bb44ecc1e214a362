"""What a distillation did, for programs: `distillation.json`, and the student's `quality.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluice.distillation.fidelity import COMPLEXITY, Accuracy, Closeness, Fidelity
from sluice.distillation.settings import Settings
from sluice.domain.enums import Task
from sluice.engine.checkpoint.checkpoint import QUALITY

REPORT = "distillation.json"
_NAMES = {"exclusive": ("agreement", "kl"), "multi_label": ("agreement", "kl"), "vectors": ("cosine", "distance")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two models; `accuracy` is None where the measured texts have no labels."""

    architecture: str
    layers: int | None
    parameters: int
    size_bytes: int
    accuracy: Accuracy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the student learned: `texts`, of which so many are `labelled`, in so many `steps`, and what became of it."""

    texts: int
    labelled: int
    alpha: float
    max_tokens: int
    steps: int
    step_ms: float
    device: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`before` and `after` compare the student with its teacher before it learned and as it was written.

    `measured_on` is `evaluate`, or `held out` if a part of the texts was kept for that.
    """

    settings: Settings
    task: Task
    kind: str
    begins_with: str
    teacher: Side
    student: Side
    training: Training
    measured_on: str
    before: Closeness
    after: Fidelity
    examples_by_bucket: tuple[int, ...]

    @property
    def names(self) -> tuple[str, str]:
        """What agreement and distance are called for models of this kind."""
        return _NAMES[self.kind]

    @property
    def points(self) -> float | None:
        """The accuracy that the student lost against its teacher, in hundredths; None where it was not measured."""
        if self.teacher.accuracy is None or self.student.accuracy is None:
            return None
        return round(100 * (self.teacher.accuracy.overall - self.student.accuracy.overall), 2)

    def write(self, directory: Path) -> None:
        """Write the report, and where it was measured the quality that the mesh reads, into `directory`."""
        _dump(directory / REPORT, self._content())
        accuracy = self.student.accuracy
        if accuracy is None:
            return
        quality: dict[str, Any] = {
            "metric": "accuracy",
            "precision": "fp32",
            "quality": accuracy.overall,
            "teacher": self.settings.teacher.name,
        }
        if self.after.bucketed_by == COMPLEXITY and None not in accuracy.by_bucket:
            quality["quality_by_complexity"] = accuracy.by_bucket
            quality["examples_by_complexity"] = self.examples_by_bucket
        _dump(directory / QUALITY, quality)

    def _content(self) -> dict[str, Any]:
        settings, agreement = self.settings, self.names[0]
        return {
            "teacher": {"name": settings.teacher.name, **_side(self.teacher)},
            "student": {**_side(self.student), "begins_with": self.begins_with},
            "task": self.task.name.lower().replace("_", "-"),
            "training": {
                **asdict(self.training),
                "batch_size": settings.batch_size,
                "learning_rate": settings.rate,
                "temperature": settings.temperature,
                "hidden": settings.hidden,
                "seed": settings.seed,
            },
            "fidelity": {
                "measured_on": self.measured_on,
                "examples": self.after.overall.examples,
                f"{agreement}_before": self.before.agreement,
                **self._named(self.after.overall.agreement, self.after.overall.distance),
                "bucketed_by": self.after.bucketed_by,
                "by_bucket": [
                    {"examples": one.examples, **self._named(one.agreement, one.distance)}
                    for one in self.after.by_bucket
                ],
            },
            "points_lost": self.points,
        }

    def _named(self, agreement: float | None, distance: float | None) -> dict[str, float | None]:
        return dict(zip(self.names, (agreement, distance), strict=True))


def _side(side: Side) -> dict[str, Any]:
    accuracy = side.accuracy
    return {
        "architecture": side.architecture,
        "layers": side.layers,
        "parameters": side.parameters,
        "size_bytes": side.size_bytes,
        "accuracy": accuracy and accuracy.overall,
        "accuracy_by_bucket": accuracy and accuracy.by_bucket,
    }


def _dump(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
