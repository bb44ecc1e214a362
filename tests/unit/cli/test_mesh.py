"""How a local mesh places its services: addresses, who is told of whom, and whose settings hold. Nothing is started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cli.mesh import START_ORDER, LocalMesh
from sluice.runtime.config import ConfigError


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Any]:
    """Make a mesh without starting it; gives it, and the settings that its services would read."""
    made: list[LocalMesh] = []

    def make(settings: Any, **options: Any) -> tuple[LocalMesh, dict[str, Any]]:
        options.setdefault("environ", {})
        mesh = LocalMesh(settings, log_directory=tmp_path, on_event=lambda *_: None, **options)
        made.append(mesh)
        file = next(iter(mesh.processes.values()))._environ["SLUICE_CONFIG"]
        read: dict[str, Any] = yaml.safe_load(Path(file).read_text())
        return mesh, read

    yield make
    for mesh in made:
        await mesh.stop()


def test_without_settings_every_service_has_its_default_address_and_knows_the_others(place: Any) -> None:
    mesh, read = place({})
    assert mesh.addresses["router"] == mesh.router == "127.0.0.1:50051"
    assert read["router"]["workers"] == ["127.0.0.1:50061", "127.0.0.1:50062"]
    assert {read[name]["governor"] for name in START_ORDER if name != "governor"} == {"127.0.0.1:50050"}


def test_settings_stay_and_the_callers_mapping_is_not_changed(place: Any) -> None:
    given = {"router": {"max_batch_size": 7}, "telemetry": {"log_level": "DEBUG"}, "gpu_worker": None}
    _, read = place(given)
    assert read["router"]["max_batch_size"] == 7
    assert read["telemetry"] == {"log_level": "DEBUG"}
    assert given == {"router": {"max_batch_size": 7}, "telemetry": {"log_level": "DEBUG"}, "gpu_worker": None}


def test_free_ports_make_a_mesh_that_knows_nothing_of_others(place: Any) -> None:
    environ = {
        "SLUICE_ROUTER_LISTEN": "127.0.0.1:1",
        "SLUICE_ROUTER_WORKERS": "[a:1]",
        "SLUICE_CPU_WORKER_GOVERNOR": "b:2",
    }
    given = {"router": {"listen": "127.0.0.1:1", "workers": ["elsewhere:1"]}}
    mesh, read = place(given, free_ports=True, environ=environ)
    assert len(set(mesh.addresses.values())) == 4
    assert read["router"]["workers"] == [mesh.addresses["gpu_worker"], mesh.addresses["cpu_worker"]]
    assert read["router"]["listen"] == mesh.router != "127.0.0.1:1"
    for process in mesh.processes.values():
        assert not {key for key in process._environ if key in environ}


def test_the_environments_address_is_where_the_mesh_waits_for_the_service(place: Any) -> None:
    mesh, read = place({}, environ={"SLUICE_ROUTER_LISTEN": "127.0.0.1:7001", "SLUICE_ROUTER_MAX_BATCH_SIZE": "9"})
    assert mesh.router == read["router"]["listen"] == "127.0.0.1:7001"
    # What is nobody's address goes to the services as it is.
    assert mesh.processes["router"]._environ["SLUICE_ROUTER_MAX_BATCH_SIZE"] == "9"


def test_a_part_of_a_mesh_keeps_the_addresses_of_what_runs_elsewhere(place: Any) -> None:
    given = {"router": {"workers": ["gpu-box:50061"], "governor": "control:50050"}}
    _, read = place(given, services=["cpu_worker", "router"])
    assert read["router"]["workers"] == ["gpu-box:50061", "127.0.0.1:50062"]
    assert read["router"]["governor"] == "control:50050"
    assert "governor" not in read["cpu_worker"]


@pytest.mark.parametrize("section", [[1], "text", 5])
def test_a_section_that_is_none_is_refused_by_name(place: Any, section: object) -> None:
    with pytest.raises(ConfigError, match="telemetry: must be a mapping of keys"):
        place({"telemetry": section})
