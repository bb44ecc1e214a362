"""The mesh that benchmarks of the transport measure: real processes, and a model that answers at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sluice.cli.mesh import LocalMesh

MESH: dict[str, dict[str, Any]] = {
    "router": {},
    "cpu_worker": {"models": [{"model": "echo", "tier": "light", "checkpoint": "identity"}]},
}


def identity_mesh(logs: str) -> LocalMesh:
    """Governor, worker and router on free ports of loopback; `logs` is the directory for what they say."""
    return LocalMesh(
        MESH,
        environ=os.environ,  # noqa: TID251
        services=("governor", "cpu_worker", "router"),
        free_ports=True,
        log_directory=Path(logs),
        on_event=lambda *_: None,
    )
