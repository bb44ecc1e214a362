"""MLServer as a child process: its settings, its start, and when it takes requests."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.child import child
from benchmarks.foreign import mlserver_python
from sluice.cli.addresses import choose_ports
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.open_inference import grpc_service_pb2_grpc as oip_grpc

RUNTIME = Path(__file__).with_name("mlserver_model.py")
READY_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """What its adaptive batching is tuned by: workers beside the server (0: it computes itself), and the batch."""

    parallel_workers: int
    max_batch_size: int
    max_batch_time_s: float

    def __str__(self) -> str:
        return (
            f"parallel_workers {self.parallel_workers}, max_batch_size {self.max_batch_size}, "
            f"max_batch_time {self.max_batch_time_s:g} s"
        )


@asynccontextmanager
async def mlserver(
    checkpoint: Path, settings: Settings, *, model: str, scratch: Path
) -> AsyncIterator[tuple[str, int]]:
    """Address of its gRPC face, and process id, while the block runs; it serves `checkpoint` in fp32 as `model`.

    Raises RuntimeError with the end of its log when it is not ready in READY_TIMEOUT_S, and CalledProcessError when it
    cannot be installed.
    """
    python = await asyncio.to_thread(mlserver_python)
    http, rpc, metrics = choose_ports(3)
    home = scratch / f"mlserver-{rpc}"
    _write(home, checkpoint, settings, model, {"http_port": http, "grpc_port": rpc, "metrics_port": metrics})
    address, log = f"127.0.0.1:{rpc}", home / "mlserver.log"
    async with child([python.with_name("mlserver"), "start", home], log=log, folder=home) as process:
        if not await _ready(address, model, process):
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise RuntimeError("MLServer was not ready:\n" + "\n".join(said[-15:]))
        yield address, process.pid


def _write(home: Path, checkpoint: Path, settings: Settings, model: str, ports: dict[str, int]) -> None:
    home.mkdir(parents=True)
    shutil.copy(RUNTIME, home)
    server: dict[str, Any] = {
        "debug": False,
        "host": "127.0.0.1",
        "parallel_workers": settings.parallel_workers,
        "metrics_endpoint": None,
        **ports,
    }
    served: dict[str, Any] = {
        "name": model,
        "implementation": f"{RUNTIME.stem}.Classifier",
        "max_batch_size": settings.max_batch_size,
        "max_batch_time": settings.max_batch_time_s,
        "parameters": {"uri": str(checkpoint)},
    }
    (home / "settings.json").write_text(json.dumps(server), encoding="utf-8")
    (home / "model-settings.json").write_text(json.dumps(served), encoding="utf-8")


async def _ready(address: str, model: str, process: asyncio.subprocess.Process) -> bool:
    deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
    async with grpc.aio.insecure_channel(address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            try:
                if (await stub.ModelReady(oip_pb2.ModelReadyRequest(name=model), timeout=5)).ready:
                    return True
            except grpc.aio.AioRpcError:
                await asyncio.sleep(POLL_S)
    return False
