"""A mesh that `sluice up` runs, described by a configuration of the test's own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from sluice.cli.addresses import choose_ports
from sluice.cli.mesh import START_ORDER
from tests.e2e.sluice_command import Environ, Running, environ, running

HAS_TORCH = find_spec("torch") is not None


def identity(tier: str) -> dict[str, str]:
    """A model that answers at once, as a worker's configuration names it."""
    return {"model": "echo", "tier": tier, "checkpoint": "identity"}


def configuration(folder: Path, **sections: dict[str, Any]) -> dict[str, str]:
    """An environment whose SLUICE_CONFIG names a file of a mesh on free ports."""
    settings: dict[str, dict[str, Any]] = {
        "router": {"default_model": "echo"},
        "gpu_worker": {"models": [identity("full")]},
        "cpu_worker": {"models": [identity("light"), identity("quantized")]},
        **sections,
    }
    for name, port in zip(START_ORDER, choose_ports(4), strict=True):
        settings.setdefault(name, {}).setdefault("listen", f"127.0.0.1:{port}")
    file = folder / "mesh.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return environ(SLUICE_CONFIG=str(file), TMPDIR=str(folder))


def configuration_of(folder: Path) -> dict[str, str]:
    """The environment for a configuration that is there already."""
    return environ(SLUICE_CONFIG=str(folder / "mesh.yaml"))


@contextmanager
def up(folder: Path, env: Environ) -> Iterator[Running]:
    """A mesh that is up and, when the block ends, still is; it is then stopped as by Ctrl-C."""
    with running("up", "--logs", str(folder / "logs"), env=env) as command:
        command.wait_for("Ctrl-C stops it.")
        yield command
        assert command.process.poll() is None, command.errors
        command.signal(signal.SIGINT)
        assert command.ended() == 0, command.errors
