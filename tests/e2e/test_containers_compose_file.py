"""compose.yaml as Compose itself reads it; no engine is needed for that."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from tests.e2e.compose_engine import compose_command
from tests.e2e.compose_stack import REPOSITORY, SERVICES

pytestmark = pytest.mark.containers

CUDA = "gpu_worker_cuda"


def services(*options: str) -> dict[str, dict[str, Any]]:
    """The file's services, resolved. Nothing in it may be worth a warning."""
    if not compose_command():
        pytest.skip("neither `docker compose` nor `docker-compose` is installed, so nothing can read compose.yaml")
    command = [*compose_command(), "-f", "compose.yaml", *options, "config"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    return found


def test_the_file_is_valid_without_a_profile() -> None:
    found = services()
    # Compose 1 shows the services of all profiles.
    assert found.keys() - {CUDA} == {*SERVICES, "jaeger"}
    assert "deploy" not in found["gpu_worker"]


def test_the_profile_gpu_adds_a_worker_with_the_device_and_a_name_of_its_own() -> None:
    found = services("--profile", "gpu")
    assert found[CUDA]["profiles"] == ["gpu"]
    (device,) = found[CUDA]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert found[CUDA]["environment"]["SLUICE_GPU_WORKER_ADVERTISE"] == f"{CUDA}:50061"
    assert found[CUDA]["image"] != found["gpu_worker"]["image"]


def test_every_service_is_limited_and_every_one_of_ours_is_checked_and_locked_down() -> None:
    found = services("--profile", "gpu")
    for name, service in found.items():
        assert {"cpus", "mem_limit", "pids_limit", "restart"} <= service.keys(), name
        assert service["cap_drop"] == ["ALL"], name
    for name in (*SERVICES, CUDA):
        assert {"healthcheck", "build", "tmpfs"} <= found[name].keys(), name
        assert found[name]["read_only"] is True, name


def test_only_loopback_is_published() -> None:
    for name, service in services("--profile", "gpu").items():
        for port in service.get("ports", ()):
            # Compose 1 prints the short form, Compose 2 a mapping.
            host = port["host_ip"] if isinstance(port, dict) else port.rpartition(":")[0].partition(":")[0]
            assert host == "127.0.0.1", name
