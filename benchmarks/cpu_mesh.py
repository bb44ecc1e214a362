"""A mesh of real processes with a CPU worker, on free ports of loopback: what benchmarks send their load to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluice.cli.mesh import LocalMesh


def cpu_mesh(models: Sequence[Mapping[str, str]], *, logs: Path, **worker: Any) -> LocalMesh:
    """Governor, CPU worker and router. `models` and `worker` are settings of the worker; `logs` is a directory."""
    return LocalMesh(
        {"router": {}, "cpu_worker": {"models": [dict(model) for model in models], **worker}},
        environ=os.environ,  # noqa: TID251
        services=("governor", "cpu_worker", "router"),
        free_ports=True,
        log_directory=logs,
        on_event=lambda *_: None,
    )
