"""The mesh that benchmarks of the transport measure: real processes, and a model that answers at once."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cpu_mesh import cpu_mesh
from sluice.cli.mesh import LocalMesh

IDENTITY = {"model": "echo", "tier": "light", "checkpoint": "identity"}


def identity_mesh(logs: str) -> LocalMesh:
    """A mesh that serves `echo`; `logs` is the directory for what its services say."""
    return cpu_mesh([IDENTITY], logs=Path(logs))
