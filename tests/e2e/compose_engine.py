"""Which container engine and which Compose there are on this machine, found by asking their command lines."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence

import pytest

# The second is Compose 1, which some distributions still ship alone.
COMPOSE_COMMANDS = (("docker", "compose"), ("docker-compose",))
WHAT_TO_DO = "start an engine, or run .ci/run, which does where it can"


def require_engine() -> None:
    """Skip the test, saying why, unless containers can be run here."""
    problem = _problem()
    if problem:
        pytest.skip(f"no containers on this machine: {problem}; {WHAT_TO_DO}")


@functools.cache
def compose_command() -> Sequence[str]:
    """How Compose is called here; empty when it is not installed."""
    return next((command for command in COMPOSE_COMMANDS if _answers(*command, "version")[0]), ())


@functools.cache
def _problem() -> str:
    if shutil.which("docker") is None:
        return "the command `docker` is not installed"
    running, said = _answers("docker", "version", "--format", "{{.Server.Version}}")
    if not running:
        return f"no engine answers ({said})"
    return "" if compose_command() else "neither `docker compose` nor `docker-compose` is installed"


def _answers(*command: str) -> tuple[bool, str]:
    if shutil.which(command[0]) is None:
        return False, "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0, " ".join(done.stderr.split())
