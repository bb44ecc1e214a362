"""A mesh in surroundings that are not a developer's: behind a proxy, started by a script, with deaths in between."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sluice.cli.addresses import choose_ports, is_taken
from sluice.cli.mesh import START_ORDER
from sluice.client.aio import AsyncClient
from sluice.domain.errors import SluiceError
from sluice.transport.bind_check import bind_error
from tests.e2e.local_mesh import configuration
from tests.e2e.sluice_command import COMMAND, ROOT, Running, environ, run, running

RECOVERY_S = 40.0


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A proxy is set at which nobody listens, no home directory can be made, and the router listens on IPv6."""
    variables = configuration(tmp_path_factory.mktemp("mesh"))
    proxy = f"http://127.0.0.1:{choose_ports(1)[0]}"
    return {key: value for key, value in variables.items() if key.lower() != "no_proxy"} | {
        "http_proxy": proxy,
        "https_proxy": proxy,
        "grpc_proxy": proxy,
        "HOME": "/dev/null/nowhere",
        "SLUICE_ROUTER_LISTEN": f"{'[::1]' if has_ipv6() else '127.0.0.1'}:{choose_ports(1)[0]}",
    }


def has_ipv6() -> bool:
    return bind_error("[::1]:0") is None


@pytest.fixture(scope="module")
def mesh(env: dict[str, str]) -> Iterator[Running]:
    """Started by a script with `&`: SIGINT is ignored."""
    with running("up", "--logs", f"{env['TMPDIR']}/logs", env=env, ignores_sigint=True) as command:
        command.wait_for("Ctrl-C stops it.")
        yield command
        assert command.process.poll() is None, command.errors
        command.signal(signal.SIGTERM)
        assert command.ended() == 0, command.errors
        assert command.services() == []
    # The settings are gone. The cache is one, for this user's next start, although workers were killed.
    assert [one.name for one in Path(env["TMPDIR"]).glob("sluice-*")] == [f"sluice-cache-{os.geteuid()}"]


def test_a_mesh_and_its_commands_find_each_other_although_a_proxy_is_set(mesh: Running, env: dict[str, str]) -> None:
    assert run("infer", "hi", env=env).returncode == 0
    assert run("top", "--once", env=env).returncode == 0
    assert run("levels", "--json", env=env).returncode == 0
    assert run("degrade", "--clear", env=env).returncode == 0
    probe = [sys.executable, "-m", "sluice.transport.health_probe", env["SLUICE_ROUTER_LISTEN"]]
    assert subprocess.run(probe, env=env, cwd=ROOT, check=False).returncode == 0
    assert "not ready after" not in mesh.errors


def test_workers_without_a_home_directory_say_that_their_cache_is_temporary(mesh: Running, env: dict[str, str]) -> None:
    for worker in ("gpu_worker", "cpu_worker"):
        log = (Path(env["TMPDIR"]) / "logs" / f"{worker}.log").read_text()
        assert "the cache is temporary because the user has no home directory that can be written" in log


def test_a_mesh_that_was_started_with_sigint_ignored_goes_on_ignoring_it(mesh: Running, env: dict[str, str]) -> None:
    mesh.signal(signal.SIGINT)
    assert run("infer", "hi", env=env).returncode == 0
    assert mesh.process.poll() is None
    assert "stopped" not in mesh.errors


@pytest.mark.parametrize("name", START_ORDER)
async def test_a_service_that_is_killed_is_started_again_while_the_mesh_serves(
    mesh: Running, env: dict[str, str], name: str
) -> None:
    while run("infer", "hi", "--minimum-tier", "full", env=env).returncode:
        # The router has yet to reach the GPU worker that was killed before.
        assert mesh.process.poll() is None
    before = mesh.errors.count(f"{name:<11} ready\n")
    outcomes: list[str] = []
    asking = asyncio.create_task(ask_on(env["SLUICE_ROUTER_LISTEN"], outcomes))
    await until(lambda: len(outcomes) > 10)
    (service,) = [one for one in mesh.services() if one.cmdline()[-1] == f"services.{name}"]
    service.kill()
    await until(lambda: mesh.errors.count(f"{name:<11} ready\n") > before)
    seen = len(outcomes)
    await until(lambda: outcomes[-1] == "" and len(outcomes) > seen + 10)
    asking.cancel()
    assert f"{name:<11} was killed by SIGKILL; it is started again in " in mesh.errors
    # Only the router itself is missed while it is away.
    assert set(outcomes) <= ({"", "rejected-no-endpoints"} if name == "router" else {""})
    assert len(mesh.services()) == 4


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(RECOVERY_S):
        while not happened():  # noqa: ASYNC110  what another process does sets no event
            await asyncio.sleep(0.05)


async def ask_on(router: str, outcomes: list[str]) -> None:
    """One request after the other; adds what each ended with, empty for an answer."""
    async with AsyncClient(router, timeout_s=10) as client:
        while True:
            try:
                await client.infer("hi")
                outcomes.append("")
            except SluiceError as error:
                outcomes.append(str(error.reason))
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "command",
    [
        ["top"],
        ["top", "--once"],
        ["levels"],
        ["levels", "--follow"],
        ["levels", "--json"],
        ["degrade", "--clear"],
        ["infer", "hi"],
        ["infer", "hi", "hi", "--json"],
        ["load", "--rate", "20", "--duration", "0.5"],
        ["up", "--help"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_no_command_shows_a_traceback_to_a_reader_who_has_left(
    mesh: Running, env: dict[str, str], command: list[str]
) -> None:
    status, errors = ended_without_reader([*COMMAND, *command], env)
    assert errors == ""
    assert status in {0, 1}
    assert mesh.process.poll() is None


@pytest.mark.parametrize("service", START_ORDER)
def test_no_service_shows_a_traceback_to_a_reader_of_its_help_who_has_left(service: str) -> None:
    assert ended_without_reader([sys.executable, "-m", f"services.{service}", "--help"], environ()) == (1, "")


def test_a_mesh_whose_messages_nobody_reads_stops_what_it_has_started(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    env = configuration(tmp_path)
    words = [*COMMAND, "up", "--logs", str(tmp_path / "logs")]
    ended = subprocess.run(words, env=env, cwd=ROOT, stdout=write, stderr=write, timeout=60, check=False)
    os.close(write)
    assert ended.returncode == 1
    listeners = [section["listen"] for section in yaml.safe_load(Path(env["SLUICE_CONFIG"]).read_text()).values()]
    assert not any(map(is_taken, listeners))


def ended_without_reader(words: list[str], env: dict[str, str]) -> tuple[int, str]:
    """The status of a program whose standard output is a pipe without a reader, and its standard error."""
    read, write = os.pipe()
    os.close(read)
    # As in a user's shell, where output to a pipe is held back until it is much.
    env = {key: value for key, value in env.items() if key != "PYTHONUNBUFFERED"}
    ended = subprocess.run(words, env=env, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    return ended.returncode, ended.stderr.decode()
