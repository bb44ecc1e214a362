"""The mesh of compose.yaml in real containers, in a Compose project and with images and ports of its own."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from testcontainers.compose import DockerCompose
from testcontainers.core.docker_client import DockerClient

from sluice.cli.addresses import is_taken
from tests.e2e.compose_engine import compose_command

REPOSITORY = Path(__file__).parents[2]
SERVICES = ("governor", "router", "gpu_worker", "cpu_worker")
# Images keep their name from run to run, so that a second build finds its layers; port 0 lets the engine choose.
# Routers have a range of ports, which is what scaling them takes.
TAG = "e2e"
SETTINGS = f"""\
SLUICE_TAG={TAG}
SLUICE_GOVERNOR_PORT=0
SLUICE_ROUTER_PORT={{routers}}
SLUICE_JAEGER_PORT=0
SLUICE_OTLP_PORT=0
"""
START_TIMEOUT_S = 180.0
MOST_ROUTERS = 2
LOWEST_PORT, HIGHEST_PORT = 20_000, 30_000


def published(container: Any, port: str) -> str:
    """The address on the host under which `container` has `port`, such as "50051/tcp"."""
    (binding,) = container.attrs["NetworkSettings"]["Ports"][port]
    return f"{binding['HostIp']}:{binding['HostPort']}"


def _range_of(count: int) -> str:
    """Ports in a row that nobody listens on now: a range as compose.yaml wants it where a service is scaled.

    They are below those that systems give out by themselves.
    """
    for first in random.sample(range(LOWEST_PORT, HIGHEST_PORT), 100):
        ports = range(first, first + count)
        if not any(is_taken(f"127.0.0.1:{port}") for port in ports):
            return f"{ports[0]}-{ports[-1]}"
    raise AssertionError("no ports are free")


class ComposeStack(DockerCompose):  # type: ignore[misc]  # testcontainers' types are not followed
    """testcontainers' DockerCompose, made to drive either version of Compose and to tell how a service is."""

    def __init__(self, directory: Path) -> None:
        self._settings = directory / "compose.env"
        self._settings.write_text(SETTINGS.format(routers=_range_of(MOST_ROUTERS)), encoding="utf-8")
        # Compose 1 has no `up --wait`; `start` waits instead.
        super().__init__(context=REPOSITORY, wait=False)
        self.project = f"sluice-e2e-{secrets.token_hex(3)}"
        self.engine: Any = DockerClient().client

    @cached_property
    def compose_command_property(self) -> list[str]:
        """Compose's command line up to the subcommand."""
        files = ("-f", "compose.yaml", "-f", "tests/e2e/compose_override.yaml")
        return [*compose_command(), "--project-name", self.project, *files, "--env-file", str(self._settings)]

    def compose(self, *arguments: str) -> str:
        """Run a subcommand and return what it printed. Raises CalledProcessError after logging why."""
        output: bytes = self._run_command([*self.compose_command_property, *arguments]).stdout
        return output.decode()

    def start(self) -> None:
        """Build the images, start the containers, and wait until they are healthy."""
        # Before `up`, which would look for an image that is built for another service in a registry.
        self.compose("build")
        with self._logs_on_failure():
            super().start()
            self._wait_until_healthy()

    def stop(self, down: bool = True) -> None:
        """Remove containers, network and volumes."""
        try:
            super().stop(down)
        finally:
            self.engine.close()

    def container(self, service: str) -> Any:
        """The one container of `service`, in whatever state it is."""
        (found,) = self.containers(service)
        return found

    def containers(self, service: str) -> list[Any]:
        """All containers of `service`, in whatever state they are."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        found = self.engine.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda one: int(one.labels["com.docker.compose.container-number"]))

    def scale(self, **numbers: int) -> None:
        """Have so many containers of each service named, and wait until all are healthy."""
        options = [option for name, number in numbers.items() for option in ("--scale", f"{name}={number}")]
        with self._logs_on_failure():
            self.compose("up", "-d", "--no-build", *options)
            self._wait_until_healthy()

    def existing(self) -> set[str]:
        """The services that have a container."""
        label = f"com.docker.compose.project={self.project}"
        containers = self.engine.containers.list(all=True, filters={"label": label})
        return {container.labels["com.docker.compose.service"] for container in containers}

    def router(self) -> str:
        """The router's address as the host sees it; the first one's."""
        return published(self.containers("router")[0], "50051/tcp")

    def heal(self) -> None:
        """Start again whatever does not run."""
        stopped = [one for one in map(self.container, SERVICES) if one.status != "running"]
        with self._logs_on_failure():
            for container in stopped:
                container.start()
            self._wait_until_healthy()

    def print_logs(self) -> None:
        """Print what the containers printed, for the report of a failed test."""
        print(self.compose("logs", "--no-color", "--tail", "200"))

    @contextmanager
    def _logs_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.print_logs()
            raise

    def _wait_until_healthy(self) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while True:
            containers = [one for service in SERVICES for one in self.containers(service)]
            states = {one.name: one.attrs["State"] for one in containers}
            health = {name: state["Health"]["Status"] for name, state in states.items()}
            if all(status == "healthy" for status in health.values()):
                return
            ended = [name for name, state in states.items() if state["Status"] in {"exited", "restarting"}]
            assert not ended, f"ended instead of starting: {ended}"
            assert time.monotonic() < give_up_at, f"not healthy after {START_TIMEOUT_S} s: {health}"
            time.sleep(0.5)
