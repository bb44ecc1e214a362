"""What a compression did, for programs: `report.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluice.compression.measurement import BATCH_SIZE, Measurement
from sluice.compression.pruning import Removed
from sluice.compression.settings import USUAL_BLOCK_SIZE, USUAL_RANGES, Settings
from sluice.compression.shipped import INT4

REPORT = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`examples` counts the texts that were evaluated; `removed` is None when nothing was to be pruned."""

    settings: Settings
    architecture: str
    before: Measurement
    after: Measurement
    removed: Removed | None = None
    examples: int = 0
    threads: int = 1

    def place(self) -> Path:
        """Where the report is kept: in an output directory, or beside a packed file under the file's name."""
        output = self.settings.output
        return output.with_suffix(f".{REPORT}") if self.settings.packed else output / REPORT

    def write(self, file: Path) -> None:
        """Write all figures as JSON."""
        settings = self.settings
        content: dict[str, Any] = {
            "source": settings.source.name,
            "architecture": self.architecture,
            "bits": settings.bits,
            "method": settings.method,
            "block_size": (settings.block_size or USUAL_BLOCK_SIZE) if settings.precision == INT4 else None,
            "activations": self.activations(),
            "pruned": asdict(self.removed) if self.removed else None,
            "before": _flat(self.before),
            "after": _flat(self.after),
            "size_ratio": round(self.after.size_bytes / self.before.size_bytes, 4),
            "examples": self.examples,
            "batch_size": BATCH_SIZE,
            "threads": self.threads,
        }
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def activations(self) -> str:
        """How activations are computed: fp32, or int8 with ranges that are dynamic or static."""
        settings = self.settings
        if settings.precision == INT4:
            return "fp32"
        if settings.calibration is None:
            return "int8, dynamic"
        return f"int8, static by {settings.ranges or USUAL_RANGES}"


def _flat(measurement: Measurement) -> dict[str, Any]:
    """A measurement with the values of its quality that apply beside its own."""
    values = asdict(measurement)
    quality = values.pop("quality")
    return {**values, **{name: value for name, value in quality.items() if value is not None}}
