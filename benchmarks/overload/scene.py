"""A mesh of real processes that plays a cast, and whose members can be told apart, hurt and brought back."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

from benchmarks.overload.cast import MODEL, ROOT, Cast, Device
from benchmarks.overload.device import VARIABLE
from sluice.cli.addresses import choose_ports
from sluice.cli.process import ServiceProcess
from sluice.runtime.config import FILE_VARIABLE

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0
USUAL = 0
DEVICE = "benchmarks.overload.device"


class Scene:
    """Runs a cast: governor, devices, router. Use as an async context manager; nothing is left behind.

    `control` is where the router and the workers dial the governor, if not at its own address: proxies, say.
    Logs are kept in `logs`. `only` names the members that are wanted; empty, all are.
    """

    def __init__(
        self, cast: Cast, *, logs: Path, control: tuple[str, str] | None = None, only: Sequence[str] = ()
    ) -> None:
        self.cast = cast
        self._scratch = tempfile.TemporaryDirectory(prefix="overload-")
        self._logs = logs
        names = ["governor", "router", *(device.name for device in cast.devices)]
        ports = choose_ports(len(names))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
        routers_control, self._control = control or (self.governor, self.governor)
        self.processes: dict[str, ServiceProcess] = {"governor": self._service("governor", {})}
        for device in cast.devices:
            self.processes[device.name] = self._device(device)
        workers = [self.addresses[device.name] for device in cast.devices]
        joined = {"governor": routers_control, "workers": workers, "default_model": MODEL}
        self.processes["router"] = self._service("router", joined)
        for name in self.processes.keys() - set(only or names):
            del self.processes[name]

    @property
    def router(self) -> str:
        """Where to ask."""
        return self.addresses["router"]

    @property
    def governor(self) -> str:
        """Where the fleet is watched."""
        return self.addresses["governor"]

    def workers(self, kind: str = "") -> list[str]:
        """The devices' names, of one kind or of all."""
        return [device.name for device in self.cast.devices if kind in device.kind]

    async def __aenter__(self) -> Self:
        """Start everything; return when the router takes work. Raises ServiceFailed, with nothing left running."""
        try:
            for name in self.processes:
                if name != "router":
                    self._start(name)
            for name, process in self.processes.items():
                if name == "router":
                    self._start(name)
                await process.ready(READY_TIMEOUT_S)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def cpu_s(self, *names: str) -> float:
        """Seconds of CPU that members have used since they were started."""
        times = [psutil.Process(self.processes[name].pid).cpu_times() for name in names]
        return float(sum(one.user + one.system for one in times))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a member."""
        self.processes[name].signal(number)

    async def kill(self, *names: str) -> None:
        """End members outright."""
        for name in names:
            self.signal(name, signal.SIGKILL)
        for name in names:
            await self.processes[name].ended(END_TIMEOUT_S)

    async def restart(self, *names: str) -> None:
        """Start members that have ended, anew and at their old addresses; return when they are ready."""
        for name in names:
            self._start(name)
        for name in names:
            await self.processes[name].ready(READY_TIMEOUT_S)

    async def add_governor(self, name: str) -> str:
        """Start one more governor, of which nobody knows yet; returns its address."""
        self.addresses[name] = f"127.0.0.1:{choose_ports(1)[0]}"
        self.processes[name] = self._service("governor", {}, name=name)
        await self.restart(name)
        return self.addresses[name]

    async def stop(self) -> None:
        """End everything, the router first."""
        for name in reversed(self.processes):
            process = self.processes[name]
            if process.pid:
                process.signal(signal.SIGCONT)
                process.signal(signal.SIGTERM)
                if not await process.ended(END_TIMEOUT_S):
                    await self.kill(name)
        self._scratch.cleanup()

    def _start(self, name: str) -> None:
        process = self.processes[name]
        process.start()
        # It inherits the precedence of who offers the load, which stands for other machines.
        os.setpriority(os.PRIO_PROCESS, process.pid, max(USUAL, os.getpriority(os.PRIO_PROCESS, 0)))

    def _service(self, service: str, settings: dict[str, Any], *, name: str = "") -> ServiceProcess:
        section = {"listen": self.addresses[name or service], **settings, **self.cast.section(service)}
        return self._process(name or service, service, section, module=f"services.{service}")

    def _device(self, device: Device) -> ServiceProcess:
        checkpoints = device.checkpoints or dict.fromkeys(device.speeds, "identity")
        models = [{"model": MODEL, "tier": tier, "checkpoint": name} for tier, name in checkpoints.items()]
        section = {"listen": self.addresses[device.name], "governor": self._control, "models": models}
        if device.checkpoints:
            settings = {**section, "threads": 1, "models_root": str(ROOT / "models")}
            return self._process(device.name, device.kind, settings, module=f"services.{device.kind}")
        speeds = {tier: {"base_s": one.base_s, "token_s": one.token_s} for tier, one in device.speeds.items()}
        described = json.dumps({"kind": device.kind, "speeds": speeds})
        return self._process(device.name, device.kind, section, module=DEVICE, environ={VARIABLE: described})

    def _process(
        self, name: str, section: str, settings: dict[str, Any], *, module: str, environ: dict[str, str] | None = None
    ) -> ServiceProcess:
        file = Path(self._scratch.name) / f"{name}.yaml"
        file.write_text(yaml.safe_dump({section: settings}), encoding="utf-8")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}  # noqa: TID251
        return ServiceProcess(
            name,
            address=self.addresses[name],
            environ={**inherited, **(environ or {}), FILE_VARIABLE: str(file)},
            log=self._logs / f"{name}.log",
            module=module,
        )
