"""Writes the tables of settings in docs/operations.md anew from the programs' configuration classes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from services.governor.config import GovernorConfig  # noqa: E402
from services.gpu_worker.config import GpuWorkerConfig  # noqa: E402
from services.router.config import RouterConfig  # noqa: E402
from sluice.control.degradation.thresholds import Thresholds  # noqa: E402
from sluice.runtime.config import TelemetryConfig  # noqa: E402
from sluice.runtime.program import markdown_table  # noqa: E402
from sluice.transport.settings import Transport  # noqa: E402
from sluice.worker.config import ModelEntry, WorkerConfig  # noqa: E402
from sluice.worker.execution.openai_config import OpenAIServer  # noqa: E402

PAGE = ROOT / "docs" / "operations.md"
BETWEEN = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- end of settings -->)", re.DOTALL)
SECTIONS = {
    "router": RouterConfig,
    "gpu_worker": GpuWorkerConfig,
    "cpu_worker": WorkerConfig,
    "an entry of `models`": ModelEntry,
    "`openai` of such an entry": OpenAIServer,
    "governor": GovernorConfig,
    "`thresholds` of any of them": Thresholds,
    "`transport` of any of them": Transport,
    "telemetry": TelemetryConfig,
}


def written(page: str) -> str:
    """`page` with tables as the configuration classes are now. Raises ValueError when the markers are missing."""
    if not BETWEEN.search(page):
        raise ValueError(f"{PAGE} has no '<!-- settings -->' … '<!-- end of settings -->'; put them back")
    tables = "\n\n".join(markdown_table(name, kind) for name, kind in SECTIONS.items())
    return BETWEEN.sub(lambda _: f"{tables}\n", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
