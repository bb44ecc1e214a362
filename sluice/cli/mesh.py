"""A whole mesh on this machine: the four services as processes, started in order, stopped in reverse, none left."""

from __future__ import annotations

import copy
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from sluice.cli.process import ServiceProcess
from sluice.config import FILE_VARIABLE

# Workers before the router, so that it finds all tiers when it comes up.
START_ORDER = ("governor", "gpu_worker", "cpu_worker", "router")
DEFAULT_LISTEN = {
    "governor": "127.0.0.1:50050",
    "router": "127.0.0.1:50051",
    "gpu_worker": "127.0.0.1:50061",
    "cpu_worker": "127.0.0.1:50062",
}
READY_TIMEOUT_S = 180.0
DRAIN_TIMEOUT_S = 15.0

Settings = Mapping[str, Mapping[str, Any]]


class LocalMesh:
    """Runs the services of `settings` (a configuration file's content). `on_event` is told of each step.

    `free_ports` gives every service a port of its own choosing, so that several meshes can run side by side; without
    it the ports are those of the settings. Use as an async context manager: what was started is stopped in any case.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        services: Sequence[str] = START_ORDER,
        free_ports: bool = False,
        log_directory: Path | None = None,
        on_event: Callable[[str, str], object] = print,
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="sluice-")
        self._on_event = on_event
        self.settings: dict[str, dict[str, Any]] = copy.deepcopy({key: dict(value) for key, value in settings.items()})
        self.addresses = self._place(services, free_ports=free_ports)
        file = Path(self._scratch.name) / "sluice.yaml"
        file.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        logs = log_directory or Path(self._scratch.name) / "logs"
        child_environ = {**environ, FILE_VARIABLE: str(file)}
        self.processes = {
            name: ServiceProcess(name, address=self.addresses[name], environ=child_environ, log=logs / f"{name}.log")
            for name in START_ORDER
            if name in services
        }

    @property
    def router(self) -> str:
        """Where to ask."""
        return self.addresses["router"]

    async def __aenter__(self) -> Self:
        try:
            for name in self.processes:
                if name != "router":
                    self.start(name)
            for process in self.processes.values():
                if process.name == "router":
                    self.start("router")
                await process.ready(READY_TIMEOUT_S)
                self._on_event(process.name, "ready")
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self, name: str) -> None:
        """Start one service, anew if it has ended."""
        self._on_event(name, "starting")
        self.processes[name].start()

    async def stop(self) -> None:
        """Drain the router first, so that it still has workers to finish with; kill what does not end."""
        for process in reversed(self.processes.values()):
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
            if not await process.ended(DRAIN_TIMEOUT_S):
                process.signal(signal.SIGKILL)
                await process.ended(DRAIN_TIMEOUT_S)
            self._on_event(process.name, "stopped")
        self._scratch.cleanup()

    def _place(self, services: Sequence[str], *, free_ports: bool) -> dict[str, str]:
        addresses = {}
        for name in services:
            section = self.settings.setdefault(name, {})
            if free_ports:
                section["listen"] = f"127.0.0.1:{free_port()}"
            addresses[name] = section.setdefault("listen", DEFAULT_LISTEN[name])
        workers = [addresses[name] for name in services if name.endswith("worker")]
        if "router" in services:
            # Told of its workers beforehand, the router needs no governor to find them.
            self.settings["router"]["workers"] = workers
        for name in services:
            if name != "governor":
                self.settings[name]["governor"] = addresses.get("governor", "")
        return addresses


def free_port() -> int:
    """A port of loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
