"""A whole mesh on this machine: the four services as processes, started in order, stopped in reverse, none left."""

from __future__ import annotations

import asyncio
import copy
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from sluice.cli.addresses import DEFAULT_LISTEN, choose_ports, free_port, is_taken, listen_of
from sluice.cli.process import ServiceFailed, ServiceProcess
from sluice.runtime.config import FILE_VARIABLE, ConfigError, variable_of

__all__ = ["DEFAULT_LISTEN", "START_ORDER", "LocalMesh", "free_port"]

# Workers before the router, so that it finds all tiers when it comes up.
START_ORDER = ("governor", "gpu_worker", "cpu_worker", "router")
READY_TIMEOUT_S = 180.0
# A service may wait for callers that watch no health until their connections are too old, and then for open calls.
DRAIN_TIMEOUT_S = 30.0

Settings = Mapping[str, Mapping[str, Any] | None]


class LocalMesh:
    """Runs the services of `settings` (a configuration file's content). `on_event` is told of each step.

    `free_ports` gives every service a port of its own choosing, so that several meshes can run
    side by side and know nothing of each other; without it the addresses are those of the configuration. Use as an
    async context manager: what was started is stopped in any case.
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
        self._on_event = on_event
        self.settings = {name: _section(name, section) for name, section in settings.items()}
        self.addresses = self._place(services, environ, free_ports=free_ports)
        self._scratch = tempfile.TemporaryDirectory(prefix="sluice-")
        self._file = Path(self._scratch.name) / "sluice.yaml"
        self._write_settings()
        logs = log_directory or Path(self._scratch.name) / "logs"
        # What was decided here must not be overridden there.
        keys = ["listen"] + ["governor"] * self._has_governor + ["workers"] * free_ports
        decided = {variable_of(name, key) for name in START_ORDER for key in keys}
        child_environ = {key: value for key, value in environ.items() if key not in decided}
        child_environ[FILE_VARIABLE] = str(self._file)
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
        """Start everything and wait until it takes work. Raises ServiceFailed, after stopping what was started."""
        try:
            self._check_addresses()
            for name in self.processes:
                if name != "router":
                    self.start(name)
            for process in self.processes.values():
                if process.name == "router":
                    self.start("router")
                await process.ready(READY_TIMEOUT_S, on_wait=partial(self._on_event, process.name))
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
        """Start one service, anew if it has ended. Raises ServiceFailed if the system does not let us."""
        self._on_event(name, "starting")
        try:
            # A mesh may run for longer than the system keeps temporary files.
            self._write_settings()
            self.processes[name].start()
        except OSError as error:
            raise ServiceFailed(f"{name} cannot be started: {error}") from error

    async def stop(self, *, hurry: asyncio.Event | None = None) -> None:
        """Drain the router first, so that it still has workers to finish with; kill what does not end.

        Once `hurry` is set nothing is waited for: every service is told a second time.
        """
        for process in reversed(self.processes.values()):
            if process.pid and process.exit_code is None:
                process.signal(signal.SIGCONT)
                process.signal(signal.SIGTERM)
                if not await self._ended(process, hurry or asyncio.Event()):
                    process.signal(signal.SIGKILL)
                    await process.ended(DRAIN_TIMEOUT_S)
                self._on_event(process.name, "stopped")
        self._scratch.cleanup()

    async def _ended(self, process: ServiceProcess, hurry: asyncio.Event) -> bool:
        ending, hurrying = asyncio.create_task(process.ended(DRAIN_TIMEOUT_S)), asyncio.create_task(hurry.wait())
        await asyncio.wait({ending, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if hurrying.done():
            process.signal(signal.SIGTERM)
        hurrying.cancel()
        return await ending

    def _write_settings(self) -> None:
        if not self._file.exists():
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write_text(yaml.safe_dump(self.settings), encoding="utf-8")

    def _check_addresses(self) -> None:
        # Another mesh at our addresses would answer for the service that could not start there.
        taken = [name for name in self.processes if is_taken(self.addresses[name])]
        if taken:
            listed = ", ".join(f"{self.addresses[name]} ({name})" for name in taken)
            keys = ", ".join(f"{name}.listen" for name in taken)
            raise ServiceFailed(f"in use by another program: {listed}; is a mesh up already? Stop it, or set {keys}")

    def _place(self, services: Sequence[str], environ: Mapping[str, str], *, free_ports: bool) -> dict[str, str]:
        """Give every service its address, and tell each where the others are."""
        chosen = [f"127.0.0.1:{port}" for port in choose_ports(len(services))] if free_ports else []
        given = chosen or [listen_of(name, self.settings, environ) for name in services]
        addresses = dict(zip(services, given, strict=True))
        written = copy.deepcopy(self.settings)
        self._has_governor = free_ports or "governor" in addresses
        for name in services:
            section = self.settings.setdefault(name, {})
            section["listen"] = addresses[name]
            if name != "governor" and self._has_governor:
                section["governor"] = addresses.get("governor", "")
        if "router" in services:
            # Told of its workers beforehand, the router needs no governor to find them.
            section = self.settings["router"]
            # What the file lists as its own workers has gone along where the environment moved them. The old address
            # may be that of another mesh's worker.
            moved = {listen_of(name, written, {}): addresses[name] for name in services if name.endswith("worker")}
            known = [] if free_ports else [moved.get(one, one) for one in section.get("workers") or []]
            local = [addresses[name] for name in services if name.endswith("worker")]
            section["workers"] = list(dict.fromkeys([*known, *local]))
        return addresses


def _section(name: str, section: Mapping[str, Any] | None) -> dict[str, Any]:
    if not isinstance(section, Mapping | None):
        raise ConfigError(f"{name}: must be a mapping of keys")
    return copy.deepcopy(dict(section or {}))
