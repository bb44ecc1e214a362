"""A second mesh on one machine, by the documented variables."""

from __future__ import annotations

from pathlib import Path

import yaml

from sluice.cli.mesh import LocalMesh

ROOT = Path(__file__).parents[3]


async def test_workers_that_the_environment_moves_leave_no_address_of_the_first_mesh_behind() -> None:
    settings = yaml.safe_load((ROOT / "sluice.yaml").read_text(encoding="utf-8"))
    settings["router"]["workers"].append("10.0.0.1:50061")
    ports = {"GOVERNOR": 52350, "ROUTER": 52351, "GPU_WORKER": 52361, "CPU_WORKER": 52362}
    environ = {f"SLUICE_{name}_LISTEN": f"127.0.0.1:{port}" for name, port in ports.items()}
    mesh = LocalMesh(settings, environ=environ)
    await mesh.stop()
    assert mesh.settings["router"]["workers"] == ["127.0.0.1:52361", "127.0.0.1:52362", "10.0.0.1:50061"]
