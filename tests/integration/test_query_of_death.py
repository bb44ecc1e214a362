"""A request that kills every worker it meets: two see it, then nobody. A worker that dies of itself bans none."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from services.router.lifecycle.quarantine import KEPT_S
from sluice.cli.addresses import free_port
from sluice.cli.process import ServiceProcess
from sluice.client.failure import from_rpc_error
from sluice.domain.errors import SluiceError, WorkerFailed, WorkerLost
from sluice.v1 import inference_service_pb2 as inference_pb2
from tests.integration.dying_worker import DEADLY
from tests.integration.fake_worker import router_to
from tests.integration.live_router import Face, face_of
from tests.integration.text_mesh import Call
from tests.unit.polling import until

CALLERS = 6
WORDS = " ".join(f"w{number}" for number in range(40))


class Fleet:
    """Two workers that are started again when they die, as a supervisor does. `exits` counts how often they did."""

    def __init__(self, face: Face, workers: list[ServiceProcess]) -> None:
        self.face = face
        self.workers = workers
        self.exits = 0

    async def supervise(self) -> None:
        while True:
            for worker in self.workers:
                if worker.exit_code is not None:
                    self.exits += 1
                    worker.start()
            await asyncio.sleep(0.02)

    async def whole(self) -> None:
        """Return when both are up."""
        await until(lambda: all(link.up for link in self.face.router.pool.links()), 30)

    async def write(self, prompt: str, **fields: Any) -> str:
        usual = {"model": "chat", "prompt": prompt, "max_new_tokens": 100}
        call = Call(self.face.stub.Generate(inference_pb2.GenerateRequest(**(usual | fields)), timeout=20))
        return await call.ended()

    async def infer(self, text: str) -> str:
        try:
            response = await self.face.stub.Infer(inference_pb2.InferRequest(model="m", text=text), timeout=20)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return str(response.classification.label)


@asynccontextmanager
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    workers = []
    entries = [
        {"model": "m", "tier": "full", "checkpoint": "identity"},
        {"model": "chat", "tier": "full", "checkpoint": "echo"},
    ]
    for number in range(2):
        address = f"127.0.0.1:{free_port()}"
        file = tmp_path / f"{number}.yaml"
        settings = {"listen": address, "models": entries, "autonomous": False}
        file.write_text(yaml.safe_dump({"gpu_worker": settings}), encoding="utf-8")
        worker = ServiceProcess(
            "gpu_worker",
            address=address,
            environ={**os.environ, "SLUICE_CONFIG": str(file)},
            log=tmp_path / f"{number}.log",
            module="tests.integration.dying_worker",
        )
        worker.start()
        workers.append(worker)
    try:
        await asyncio.gather(*(worker.ready(60) for worker in workers))
        async with router_to(*(worker.address for worker in workers)) as router, face_of(router) as face:
            made = Fleet(face, workers)
            supervisor = asyncio.create_task(made.supervise())
            try:
                yield made
            finally:
                supervisor.cancel()
                await asyncio.gather(supervisor, return_exceptions=True)
    finally:
        for worker in workers:
            worker.signal(signal.SIGKILL)
            await worker.ended(10)


@asynccontextmanager
async def innocents(made: Fleet) -> AsyncIterator[Counter[str]]:
    """While inside, callers write and infer one after the other. What became of each is counted."""
    found: Counter[str] = Counter()
    over = asyncio.Event()

    async def keep_writing(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            prompt = f"caller {number} {turn} {WORDS}"
            try:
                assert await made.write(prompt) == prompt
                assert await made.infer(f"caller {number} {turn}") == "identity"
            except SluiceError as error:
                found[f"{error.reason}"] += 1
                # As a client does that is told to come back.
                await asyncio.sleep(0.1)
            else:
                found["ok"] += 1

    callers = [asyncio.create_task(keep_writing(number)) for number in range(CALLERS)]
    try:
        await until(lambda: found["ok"] >= CALLERS, 30)
        yield found
    finally:
        over.set()
        await asyncio.gather(*callers)


@pytest.mark.parametrize("kind", ["write", "infer"])
async def test_two_workers_at_most_see_it_and_nobody_else_pays_for_the_second(tmp_path: Path, kind: str) -> None:
    async with fleet(tmp_path) as made, innocents(made) as found:
        ask = getattr(made, kind)
        text = f"this is the {DEADLY}"
        with pytest.raises(WorkerFailed) as first:
            await ask(text)
        assert first.value.retry_after_s is None
        await until(lambda: made.exits == 2, 20)
        await made.whole()
        for _ in range(5):
            with pytest.raises(WorkerFailed, match="has ended two workers") as again:
                await ask(text)
            assert again.value.retry_after_s is not None
            assert KEPT_S - 60 < again.value.retry_after_s <= KEPT_S
        served = found["ok"]
        await until(lambda: found["ok"] > served + 2 * CALLERS, 30)
        assert made.exits == 2
        # Each caller has one text open, so that is what one death can cost; a text that has a token cannot go on. Where
        # the second worker dies before the first one is back there is nobody to ask for that long.
        # And what waits meanwhile for half of the workers, or none, may be shed: it can be tried again.
        shed = {"rejected-no-endpoints", "rejected-priority", "rejected-saturated"}
        assert found.keys() <= {"ok", "worker-lost", *shed}
        assert found["worker-lost"] <= CALLERS


async def test_a_worker_that_is_killed_in_the_middle_bans_nobody(tmp_path: Path) -> None:
    async with fleet(tmp_path) as made:
        prompt = " ".join(["once", "upon", "a", "time", WORDS, WORDS])
        for worker in made.workers:
            # Each is killed with this very request in flight, which may have a token by then or not.
            asked = asyncio.create_task(made.write(prompt))
            links = {link.address: link for link in made.face.router.pool.links()}
            await until(lambda: any(link.texts.open for link in links.values()))  # noqa: B023  waited for at once
            busy = next(one for one in made.workers if links[one.address].texts.open)
            busy.signal(signal.SIGKILL)
            with suppress(WorkerLost):
                assert await asked == prompt
            await until(lambda: made.exits > 0, 20)
            await made.whole()
            assert await made.write(prompt) == prompt
            del worker
        assert made.exits == 2
        assert await made.infer("hello") == "identity"
