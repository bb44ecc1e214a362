"""Fixtures that several kinds of test share."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluice.cli.mesh import LocalMesh
from sluice.runtime.cpu import granted_cores

MOST_PROCESSES = 8

# Stock channels, such as those of many tests, would dial loopback through the proxy of a machine that has one. Whether
# our own programs do is what tests/e2e/test_cli_surroundings.py asks, with an environment of its own.
_LOOPBACK = "localhost,127.0.0.1,::1"
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), _LOOPBACK)))


# A shell that runs `make test &` from a script has its children ignore SIGINT. What our programs do then is asked on
# purpose where it matters; the other tests interrupt as a terminal does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def identity(tier: str, model: str = "echo") -> dict[str, str]:
    """A model that answers at once, as a worker's configuration names it."""
    return {"model": model, "tier": tier, "checkpoint": "identity"}


# Levels come by hand only: a machine whose memory is full must not bring one in the middle of a test.
IDENTITY_MESH: dict[str, dict[str, Any]] = {
    "governor": {"automatic": False},
    "router": {"drain_timeout_s": 5},
    "gpu_worker": {"models": [identity("full")], "autonomous": False},
    "cpu_worker": {"models": [identity("light"), identity("quantized")]},
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process a core of this container's share, which pytest-xdist does not ask for.

    Each comes to hold 2 GB, and more of them than `MOST_PROCESSES` would only wait for the longest file.
    """
    return min(granted_cores(), MOST_PROCESSES)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an accelerator, visibly, where torch sees none."""
    if item.get_closest_marker("gpu") is None:
        return
    torch = pytest.importorskip("torch")
    if not torch.accelerator.is_available():
        pytest.skip("torch sees no accelerator")


@pytest.fixture
async def identity_mesh(tmp_path: Path) -> AsyncIterator[LocalMesh]:
    """Four real processes that serve model `echo` in all tiers, on ports of their own."""
    mesh = LocalMesh(IDENTITY_MESH, environ=os.environ, free_ports=True, log_directory=tmp_path)
    async with mesh:
        yield mesh
