"""Wrong settings stop every program at its start, with one line that names the key; right ones show in what it says."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sluice.cli.mesh import LocalMesh, free_port

SERVICES = ("router", "governor", "gpu_worker", "cpu_worker")
WORKERS = ("gpu_worker", "cpu_worker")
EXIT_STATUS = 2
every_service = pytest.mark.parametrize("service", SERVICES)


async def end_of(service: str, tmp_path: Path, settings: Any, **variables: str) -> tuple[int | None, list[str]]:
    """How a program ends that must not start: its exit status, and its lines on standard error."""
    file = tmp_path / "sluice.yaml"
    file.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"services.{service}",
        env={**os.environ, "SLUICE_CONFIG": str(file), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        raise AssertionError(f"{service} runs on with {settings}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert out == b""
    return process.returncode, err.decode().splitlines()


async def complaint(service: str, tmp_path: Path, settings: Any, **variables: str) -> str:
    """The one line that a program which must not start ends with."""
    status, lines = await end_of(service, tmp_path, settings, **variables)
    assert len(lines) == 1, "\n".join(lines)
    assert status == EXIT_STATUS
    start = f"sluice {service}: "
    assert lines[0].startswith(start)
    return lines[0].removeprefix(start)


def section(service: str, **settings: Any) -> Mapping[str, Any]:
    """A file with one section, on a port of its own, whatever else is wrong with it."""
    return {service: {"listen": f"127.0.0.1:{free_port()}", **settings}}


@every_service
async def test_an_unknown_key_stops_a_program(service: str, tmp_path: Path) -> None:
    line = await complaint(service, tmp_path, section(service, lisetn="127.0.0.1:1"))
    assert line == f"{service}.lisetn: unknown key (got '127.0.0.1:1')"


@every_service
async def test_a_wrong_variable_stops_a_program_and_is_named_as_the_variable(service: str, tmp_path: Path) -> None:
    variable = f"SLUICE_{service.upper()}_DRAIN_TIMEOUT_S"
    line = await complaint(service, tmp_path, section(service, drain_timeout_s=1), **{variable: "soon"})
    assert line.startswith(f"{variable}: ")
    assert line.endswith("(got 'soon')")


@every_service
async def test_a_port_in_use_stops_a_program_and_names_the_address(service: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = await complaint(service, tmp_path, {service: {"listen": address}})
    assert "listen" in line
    assert address in line


@every_service
async def test_a_wrong_telemetry_section_stops_every_program(service: str, tmp_path: Path) -> None:
    settings = {**section(service), "telemetry": {"log_level": "LOUD"}}
    assert (await complaint(service, tmp_path, settings)).startswith("telemetry.log_level: ")


async def test_a_named_file_that_is_not_there_stops_a_program(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.yaml")
    assert missing in await complaint("router", tmp_path, {}, SLUICE_CONFIG=missing)


async def test_a_file_that_is_no_yaml_stops_a_program(tmp_path: Path) -> None:
    assert str(tmp_path) in await complaint("router", tmp_path, "router: [\n  listen:\n")


MODEL = {"model": "m", "tier": "light", "checkpoint": "identity"}
WRONG_MODELS = {
    "models.0.tier": [{**MODEL, "tier": "best"}],
    "models.1.checkpoint": [MODEL, {**MODEL, "checkpoint": "missing"}],
    "models.0.checkpoint": [{**MODEL, "checkpoint": "../outside"}],
    "models.1.model": [MODEL, MODEL],
}


@pytest.mark.parametrize(("key", "models"), WRONG_MODELS.items(), ids=WRONG_MODELS)
async def test_a_model_that_cannot_be_served_stops_its_worker_and_is_named(
    key: str, models: list[dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "outside").mkdir()
    settings = section("cpu_worker", models=models, models_root=str(tmp_path / "models"))
    status, lines = await end_of("cpu_worker", tmp_path, settings)
    # What it had loaded before stands in its log, and the reason last.
    assert status == EXIT_STATUS
    assert [line for line in lines if not line.startswith("{")] == lines[-1:]
    assert key in lines[-1]


@pytest.mark.parametrize("service", WORKERS)
async def test_a_directory_that_is_no_checkpoint_stops_a_worker_and_its_missing_file_is_named(
    service: str, tmp_path: Path
) -> None:
    (tmp_path / "models" / "empty").mkdir(parents=True)
    models = [{**MODEL, "checkpoint": "empty"}]
    settings = section(service, models=models, models_root=str(tmp_path / "models"))
    line = await complaint(service, tmp_path, settings)
    assert "models.0.checkpoint" in line
    assert "config.json" in line


async def listed(address: str) -> set[str]:
    async with grpc.aio.insecure_channel(address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        response = await asyncio.wait_for(call.read(), 10)
        call.cancel()
        return {one.name for one in response.list_services_response.service}


async def described(address: str, symbol: str) -> bool:
    """Whether a tool that knows nothing of us can learn what `symbol` is."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
        response = await asyncio.wait_for(call.read(), 10)
        call.cancel()
        return bool(response.file_descriptor_response.file_descriptor_proto)


async def test_reflection_lists_and_describes_the_services_of_every_program(identity_mesh: LocalMesh) -> None:
    always = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    own = {
        "router": {"sluice.v1.InferenceService", "inference.GRPCInferenceService"},
        "governor": {"sluice.v1.GovernorService"},
        "gpu_worker": {"sluice.v1.WorkerService"},
        "cpu_worker": {"sluice.v1.WorkerService"},
    }
    for service, names in own.items():
        address = identity_mesh.addresses[service]
        assert await listed(address) == names | always
        for name in names | always:
            assert await described(address, name), name
