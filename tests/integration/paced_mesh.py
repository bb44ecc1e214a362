"""A mesh of real processes at a known pace, and callers with addresses of their own: each comes through a relay."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import yaml

from sluice.cli.addresses import free_port
from sluice.cli.process import ServiceProcess
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

CLASSIFIER, CHAT = "intent", "chat"


class Relay:
    """Passes TCP connections on to `target`, from the address `source`. A channel cannot bind one itself."""

    def __init__(self, target: str, source: str) -> None:
        self._target = target.rsplit(":", 1)
        self._source = source
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Where to connect, while the block runs."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target
        there, back = await asyncio.open_connection(host, int(port), local_addr=(self._source, 0))
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            for one in (back, writer):
                one.close()
            with suppress(ConnectionError):
                await asyncio.gather(back.wait_closed(), writer.wait_closed())


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


class Caller:
    """Somebody who asks over one connection or several, and what became of it by reason: "ok" is an answer."""

    def __init__(self, channels: list[grpc.aio.Channel], metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.outcomes: Counter[str] = Counter()
        self._stubs = [inference_grpc.InferenceServiceStub(channel) for channel in channels]
        self._metadata = metadata
        self._calls: set[asyncio.Task[None]] = set()
        self._asked = 0

    @property
    def asked(self) -> int:
        """Requests that have ended."""
        return self.outcomes.total()

    @property
    def answered(self) -> int:
        """Requests that were answered in time."""
        return self.outcomes["ok"]

    @property
    def share(self) -> float:
        """Answers over requests."""
        return self.answered / max(1, self.asked)

    async def classify(
        self, rate: float, seconds: float, *, timeout_s: float = 2.0, conversation: Callable[[int], str] = lambda _: "",
        **fields: Any,
    ) -> None:  # fmt: skip
        """Ask `rate` times a second by the clock, whatever comes of it, and wait for the last outcome."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, begun_at + number / rate - loop.time()))
            request = inference_pb2.InferRequest(
                model=CLASSIFIER, text="text", conversation_id=conversation(number), **fields
            )
            self._begin(self._infer(request, timeout_s))
        await self.ended()

    async def give_up(self, count: int, seconds: float, *, after_s: float = 0.01) -> None:
        """Ask `count` times at once on a stream and cancel what is open after `after_s`, again and again."""
        begun_at, call, number = time.monotonic(), self._stub().InferStream(), 0
        reading = asyncio.create_task(_drop(call))
        while time.monotonic() - begun_at < seconds:
            message = inference_pb2.InferStreamRequest(cancelled_ids=range(number - count, number) if number else ())
            for _ in range(count):
                message.items.add(id=number, request=inference_pb2.InferRequest(model=CLASSIFIER, text="text"))
                number += 1
            await call.write(message)
            await asyncio.sleep(after_s)
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    def generate(self, count: int, *, words: int = 100, timeout_s: float = 30.0, **fields: Any) -> None:
        """Begin so many generations at once."""
        for _ in range(count):
            message = inference_pb2.GenerateRequest(model=CHAT, prompt="word " * words, max_new_tokens=words, **fields)
            self._begin(self._generate(message, timeout_s))

    async def ended(self) -> None:
        """Wait until nothing is open."""
        while self._calls:
            await asyncio.gather(*self._calls)

    async def leave(self) -> None:
        """Cancel what is open."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _begin(self, call: Any) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _stub(self) -> inference_grpc.InferenceServiceAsyncStub:
        self._asked += 1
        return self._stubs[self._asked % len(self._stubs)]  # type: ignore[return-value]

    async def _infer(self, request: inference_pb2.InferRequest, timeout_s: float) -> None:
        await self._count(self._stub().Infer(request, timeout=timeout_s, metadata=self._metadata))

    async def _generate(self, message: inference_pb2.GenerateRequest, timeout_s: float) -> None:
        async def read() -> None:
            async for _ in self._stub().Generate(message, timeout=timeout_s, metadata=self._metadata):
                pass

        await self._count(read())

    async def _count(self, call: Any) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            self.outcomes[f"{error.code().name}: {error.details()}"] += 1
        else:
            self.outcomes["ok"] += 1


async def _drop(call: Any) -> None:
    async for _ in call:
        pass


class PacedMesh:
    """A router and workers, each a process. `processes` are those by name."""

    def __init__(self, router: str, processes: Mapping[str, ServiceProcess], stack: AsyncExitStack) -> None:
        self.router = router
        self.processes = processes
        self._stack = stack

    async def caller(self, source: str, *, connections: int = 1, metadata: tuple[tuple[str, str], ...] = ()) -> Caller:
        """Somebody whose calls come from the address `source`."""
        relay = await self._stack.enter_async_context(Relay(self.router, source).running())
        channels = []
        for _ in range(connections):
            # Without this, channels to one address share a connection.
            channel = grpc.aio.insecure_channel(relay, options=(("grpc.use_local_subchannel_pool", 1),))
            channels.append(await self._stack.enter_async_context(channel))
        made = Caller(channels, metadata)
        self._stack.push_async_callback(made.leave)
        return made


@asynccontextmanager
async def paced_mesh(
    logs: Path, *, accelerator: tuple[str, ...] = (), cpu: tuple[str, ...] = (), **router: Any
) -> AsyncIterator[PacedMesh]:
    """A mesh whose workers serve these models: the classifier is full on the accelerator, light on the CPU worker."""
    names = [name for name, models in (("gpu_worker", accelerator), ("cpu_worker", cpu)) if models]
    addresses = {name: f"127.0.0.1:{free_port()}" for name in (*names, "router")}
    settings: dict[str, Any] = {
        "router": {"listen": addresses["router"], "workers": [addresses[name] for name in names], **router}
    }
    for name, models, tier in (("gpu_worker", accelerator, "full"), ("cpu_worker", cpu, "light")):
        entries = [
            {"model": model, "tier": tier, "checkpoint": "echo" if model == CHAT else "identity"} for model in models
        ]
        settings[name] = {"listen": addresses.get(name, "127.0.0.1:1"), "models": entries, "autonomous": False,
                          "max_batch_size": 8, "generation_lookahead": 4}  # fmt: skip
    processes = {}
    async with AsyncExitStack() as stack:
        for name, address in addresses.items():
            file = logs / f"{name}.yaml"
            # The program reads the section of an accelerator worker, whichever it stands for.
            own = {"router": settings["router"]} if name == "router" else {"gpu_worker": settings[name]}
            file.write_text(yaml.safe_dump(own), encoding="utf-8")
            processes[name] = ServiceProcess(
                name,
                address=address,
                environ={**os.environ, "SLUICE_CONFIG": str(file)},
                log=logs / f"{name}.log",
                module=None if name == "router" else "tests.integration.paced_worker",
            )
            processes[name].start()
            stack.push_async_callback(_stop, processes[name])
        for process in processes.values():
            await process.ready(60)
        async with AsyncExitStack() as callers:
            yield PacedMesh(addresses["router"], processes, callers)


async def _stop(process: ServiceProcess) -> None:
    for number in (signal.SIGCONT, signal.SIGKILL):
        process.signal(number)
    await process.ended(10)
