"""One run of the fuzz: a mesh of real processes under attack from all sides, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import grpc
import psutil
import yaml

from sluice.cli.addresses import choose_ports
from sluice.cli.process import ServiceProcess
from sluice.v1 import governor_service_pb2 as governor_pb2
from sluice.v1 import governor_service_pb2_grpc as governor_grpc
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.fuzz.lying_peers import LyingGovernor, LyingWorker, serving
from tests.fuzz.targets import Attack, Violation, attacks

ATTACKERS = 24
# A router dials each of them again and again, ever more slowly: one alone would say little.
LYING_WORKERS = 12
READY_S = 60.0
RECOVERY_S = 30.0
MIB = 1 << 20
# One process each; `led_router` obeys a governor that lies.
MODULES = {
    "governor": "services.governor",
    "gpu_worker": "services.gpu_worker",
    "cpu_worker": "services.cpu_worker",
    "router": "services.router",
    "led_router": "services.router",
}
IDENTITY = {"checkpoint": "identity"}
MODELS = {
    "gpu_worker": [
        {"model": "echo", "tier": "full", **IDENTITY},
        {"model": "scribe", "tier": "full", "checkpoint": "echo"},
    ],
    "cpu_worker": [
        {"model": "echo", "tier": "light", **IDENTITY},
        {"model": "echo", "tier": "quantized", **IDENTITY},
        {"model": "scribe", "tier": "light", "checkpoint": "echo"},
    ],
}


@dataclass(kw_only=True)
class Report:
    """What a run found. `sent` are messages by target; `findings` are defects, with how often each was seen."""

    seed: int
    seconds: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    rss_before: dict[str, int] = field(default_factory=dict)
    rss_after: dict[str, int] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        """All messages that were offered, those of lying peers included."""
        return sum(self.sent.values())


class Mesh:
    """The processes under attack, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        ports = choose_ports(len(MODULES) + 1 + LYING_WORKERS)
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(MODULES, ports, strict=False)}
        self.governor_port, *self.worker_ports = ports[len(MODULES) :]
        self.processes = {name: self._process(name, module) for name, module in MODULES.items()}

    def _process(self, name: str, module: str) -> ServiceProcess:
        section = module.removeprefix("services.")
        settings: dict[str, Any] = {"listen": self.addresses[name]}
        if name == "governor":
            settings |= {"automatic": False}
        else:
            liar = name == "led_router"
            settings["governor"] = f"127.0.0.1:{self.governor_port}" if liar else self.addresses["governor"]
        if section == "router":
            liars = [f"127.0.0.1:{port}" for port in self.worker_ports]
            workers = [self.addresses["gpu_worker"], self.addresses["cpu_worker"], *liars]
            settings |= {"workers": workers, "default_model": "echo", "default_timeout_s": 3}
            # The liar is to be heard again and again.
            settings["worker_redial_max_s"] = 0.2
        if section in MODELS:
            settings |= {"models": MODELS[section], "autonomous": False}
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({section: settings}), encoding="utf-8")
        environ = {**os.environ, "SLUICE_CONFIG": str(file), "TMPDIR": str(self.folder)}
        return ServiceProcess(
            name, address=self.addresses[name], environ=environ, log=self.folder / f"{name}.log", module=module
        )

    async def __aenter__(self) -> Mesh:
        for process in self.processes.values():
            process.start()
        for process in self.processes.values():
            await process.ready(READY_S)
        return self

    async def __aexit__(self, *error: object) -> None:
        for process in self.processes.values():
            if process.pid and process.exit_code is None:
                psutil.Process(process.pid).kill()
                await process.ended(10)

    def rss(self) -> dict[str, int]:
        """Resident bytes of those that live."""
        alive = [(name, one) for name, one in self.processes.items() if one.exit_code is None]
        return {name: psutil.Process(one.pid).memory_info().rss for name, one in alive}


async def run(
    *, seed: int, messages: int, seconds: float, folder: Path, only: str = "", on_sent: Callable[[int], object] = id
) -> Report:
    """Attack until `messages` were sent or `seconds` have passed, whichever is first; the mesh starts beforehand."""
    report = Report(seed=seed)
    async with AsyncExitStack() as stack:
        mesh = Mesh(folder)
        governor = LyingGovernor(Random(f"{seed} governor"))
        workers = [LyingWorker(Random(f"{seed} worker {port}")) for port in range(LYING_WORKERS)]
        await stack.enter_async_context(serving(governor, mesh.governor_port))
        for worker, port in zip(workers, mesh.worker_ports, strict=True):
            await stack.enter_async_context(serving(worker, port))
        await stack.enter_async_context(mesh)
        report.rss_before = mesh.rss()
        started_at = time.monotonic()
        async with _channels(mesh) as channels:
            weighted = attacks(channels["router"], channels["governor"], channels["cpu_worker"])
            chosen = {name: one for name, one in weighted.items() if only in {"", name}}
            until = started_at + seconds
            tasks = [
                _attacker(Random(f"{seed} {number}"), chosen, report, folder, until, messages, on_sent)
                for number in range(ATTACKERS)
            ]
            await asyncio.gather(*tasks)
        report.seconds = time.monotonic() - started_at
        report.sent["lying governor"] = governor.sent
        report.sent["lying workers"] = sum(worker.sent for worker in workers)
        await _check_recovery(mesh, report)
        report.rss_after = mesh.rss()
        for name, process in mesh.processes.items():
            if process.exit_code is not None:
                report.findings[f"{name} exited with status {process.exit_code}: {process.last_lines()}"] += 1
            report.findings.update(f"{name} logged an exception: {line}" for line in exceptions_in(process.log))
    return report


async def _attacker(
    rng: Random,
    chosen: dict[str, tuple[float, Attack]],
    report: Report,
    folder: Path,
    until: float,
    messages: int,
    on_sent: Callable[[int], object],
) -> None:
    names, weights = list(chosen), [weight for weight, _ in chosen.values()]
    while time.monotonic() < until and report.messages < messages:
        name = rng.choices(names, weights)[0]
        # Its own generator, so that an attack's messages do not depend on how far another got.
        attack_rng = Random(rng.getrandbits(64))
        try:
            count = await chosen[name][1](attack_rng)
        except Violation as violation:
            found = f"{name}: {violation}"
            if found not in report.findings:
                file = folder / f"violation-{len(report.findings)}.json"
                file.write_text(json.dumps([found, *(data.hex() for data in violation.data)]), encoding="utf-8")
            report.findings[found] += 1
            count = max(1, len(violation.data))
        report.sent[name] += count
        on_sent(count)


@asynccontextmanager
async def _channels(mesh: Mesh) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(grpc.aio.insecure_channel(address))
            for name, address in mesh.addresses.items()
        }


async def _check_recovery(mesh: Mesh, report: Report) -> None:
    """Once the attackers have left, honest callers are served by honest workers, in every tier."""
    async with _channels(mesh) as channels:
        clear = governor_grpc.GovernorServiceStub(channels["governor"]).SetDegradation
        try:
            await clear(governor_pb2.SetDegradationRequest(), timeout=10)
        except grpc.aio.AioRpcError as error:
            report.findings[f"the governor takes no honest override: {error.code()} {error.details()}"] += 1
        for router in ("router", "led_router"):
            stub = inference_grpc.InferenceServiceStub(channels[router])
            problem = await _first_success(stub)
            if problem:
                report.findings[f"{router} does not answer honest requests afterwards: {problem}"] += 1


async def _first_success(stub: inference_grpc.InferenceServiceStub) -> str:
    """An empty string when a request of each kind was answered in time, else why not."""
    problem = ""
    deadline = time.monotonic() + RECOVERY_S
    wanted: dict[str, Callable[[], Any]] = {
        "minimum tier full": lambda: stub.Infer(
            inference_pb2.InferRequest(model="echo", text="hello", minimum_tier=3, priority=0.9), timeout=5
        ),
        "any tier": lambda: stub.Infer(inference_pb2.InferRequest(model="echo", text="hello", priority=0.9), timeout=5),
        "generation": lambda: _read_all(
            stub.Generate(inference_pb2.GenerateRequest(model="scribe", prompt="hello", priority=0.9), timeout=5)
        ),
    }
    for name, call in wanted.items():
        while True:
            try:
                await call()
                break
            except grpc.aio.AioRpcError as error:
                problem = f"{name}: {error.code().name}: {error.details()}"
                if time.monotonic() > deadline:
                    return problem
                await asyncio.sleep(0.25)
    return ""


async def _read_all(call: Any) -> None:
    async for _ in call:
        pass


def exceptions_in(log: Path) -> list[str]:
    """The lines of a service's log that tell of an exception nobody expected, each kind once."""
    found: dict[str, str] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            if line.startswith("Traceback") or " Traceback " in line:
                found.setdefault(line, line)
            continue
        if "exception" in record:
            last = str(record["exception"]).splitlines()[-1]
            found.setdefault(f"{record['message']} {last}", line[:4000])
    return list(found.values())
