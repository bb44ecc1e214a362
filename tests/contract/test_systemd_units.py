"""The units of deploy/systemd: what they start exists, what they set is a setting, and systemd can read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from services.gpu_worker.config import GpuWorkerConfig
from sluice.cli.mesh import START_ORDER
from sluice.runtime.config import Section, load
from sluice.worker.config import WorkerConfig

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
SERVICE = UNITS / "sluice@.service"
# Spans of a request and of its batch go to a collector that may not answer, for ten seconds each.
SPANS_S = 20


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", SERVICE.read_text(), re.M)


def test_what_a_unit_starts_is_a_module() -> None:
    (command,) = setting("ExecStart")
    assert command.endswith(" -m services.%i")
    assert all(find_spec(f"services.{name}.__main__") for name in START_ORDER)


def test_the_variables_that_a_unit_sets_are_settings() -> None:
    variables = dict(pair.split("=", 1) for line in setting("Environment") for pair in line.split())
    kinds: dict[str, type[Section]] = {"gpu_worker": GpuWorkerConfig, "cpu_worker": WorkerConfig}
    for name, kind in kinds.items():
        config = load(name, kind, file={}, environ=variables)
        assert getattr(config, "cache", "") == "%C/sluice"
    assert variables.keys() == {"SLUICE_CONFIG", "SLUICE_GPU_WORKER_CACHE", "SLUICE_CPU_WORKER_CACHE"}


def test_a_unit_is_not_killed_before_a_drain_can_end() -> None:
    (timeout_s,) = setting("TimeoutStopSec")
    assert int(timeout_s) >= WorkerConfig().drain_timeout_s + SPANS_S


def test_the_router_stops_before_all_others() -> None:
    (line,) = re.findall(r"^After=(.*)$", (UNITS / "sluice@router.service.d" / "10-order.conf").read_text(), re.M)
    assert set(line.split()) == {f"sluice@{name}.service" for name in START_ORDER if name != "router"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_reads_the_units_without_a_word(tmp_path: Path) -> None:
    shutil.copytree(UNITS, tmp_path, dirs_exist_ok=True)
    unit = tmp_path / SERVICE.name
    # The command must exist for systemd to be content.
    unit.write_text(unit.read_text().replace("/opt/sluice/venv/bin/python", sys.executable))
    for instance in START_ORDER:
        (tmp_path / f"sluice@{instance}.service").symlink_to(unit)
    names = [f"sluice@{instance}.service" for instance in START_ORDER]
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "sluice.target", *names],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ours(ended.stderr)) == (0, [])


def ours(text: str) -> list[str]:
    """Only lines about our units: a container's own may be broken."""
    return [line for line in text.splitlines() if "sluice" in line]
