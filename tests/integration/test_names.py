"""Programs that know workers and governor by a name, whose addresses change while they serve."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sluice import AsyncClient
from sluice.cli.mesh import free_port
from sluice.domain.errors import SluiceError
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.fake_worker import FakeWorker, answered, serving
from tests.integration.live_governor import governing
from tests.integration.name_server import NO_ERROR, SERVER_FAILED, asking, naming
from tests.unit.polling import until

PROMISED_S = 5.0
# The same port at two addresses of this machine, as two containers or pods have it.
HOSTS = ("127.0.0.2", "127.0.0.3")
CALLERS = 6
ANSWER_S = 0.02
# An address that is not given any work for so long is in use no more: the callers never rest.
QUIET_S = 1.0

logger = logging.getLogger(__name__)


class Load:
    """Callers who ask without a pause, whom two workers answer; all of it is counted."""

    def __init__(self) -> None:
        self.workers = [FakeWorker(self._answer) for _ in HOSTS]
        self.last_at = [0.0, 0.0]
        self.outcomes: Counter[str] = Counter()

    async def _answer(self, worker: FakeWorker, batch: worker_pb2.Batch, context: Any) -> None:
        self.last_at[self.workers.index(worker)] = _now()
        await asyncio.sleep(ANSWER_S)
        await worker.write(context, answered(batch))

    async def call(self, client: AsyncClient) -> None:
        """One caller."""
        while True:
            try:
                await client.infer("text", timeout_s=10)
                self.outcomes["answered"] += 1
            except SluiceError as error:
                self.outcomes[type(error).__name__] += 1

    async def used(self, number: int) -> float:
        """Wait until a worker is given work; how long that took, in seconds."""
        begun_at = _now()
        await until(lambda: self.last_at[number] > begun_at)
        return self.last_at[number] - begun_at

    async def left(self, number: int) -> float:
        """Wait until a worker is given no more work, while others are; how long it still was, in seconds."""
        begun_at, other = _now(), 1 - number
        await until(lambda: _now() - max(begun_at, self.last_at[number]) > QUIET_S)
        assert _now() - self.last_at[other] < QUIET_S
        return max(0.0, self.last_at[number] - begun_at)


def _now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def callers(load: Load, router: str) -> AsyncIterator[None]:
    """All who ask, until the end."""
    async with AsyncClient(router) as client:
        tasks = [asyncio.create_task(load.call(client)) for _ in range(CALLERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_router_follows_the_addresses_of_its_workers_name_and_loses_no_request(tmp_path: Path) -> None:
    load, port, listen = Load(), free_port(), f"127.0.0.1:{free_port()}"
    first, second = load.workers
    environ = {"SLUICE_ROUTER_LISTEN": listen, "SLUICE_ROUTER_WORKERS": f"[workers.test:{port}]"}
    async with naming() as names, serving(first, host=HOSTS[0], port=port), serving(second, host=HOSTS[1], port=port):
        names.records["workers.test"] = [HOSTS[0]]
        async with asking("services.router", environ, tmp_path) as log, callers(load, listen):
            await until(lambda: load.outcomes["answered"], 30)
            assert not second.batches
            # Until then the router was not there.
            load.outcomes.clear()

            names.records["workers.test"] = [*HOSTS]
            took = {"comes": await load.used(1)}
            await load.used(0)
            names.records["workers.test"] = [HOSTS[1]]
            took["goes"] = await load.left(0)

            # Nobody is taken out of service because a name server is.
            names.failure, asked = SERVER_FAILED, names.asked
            await until(lambda: names.asked > asked + 6)
            await load.used(1)
            names.failure = NO_ERROR
            del names.records["workers.test"]
            asked = names.asked
            await until(lambda: names.asked > asked + 6)
            await load.used(1)

            # One takes the place of the other, as when a container is replaced.
            names.records["workers.test"] = [HOSTS[0]]
            took["replaced"] = await load.left(1)
        logger.info("what it took in seconds: %s", took)
        assert max(took.values()) < PROMISED_S
        assert load.outcomes.keys() == {"answered"}
        assert "Traceback" not in log.read_text(encoding="utf-8")


async def test_a_member_follows_the_address_of_its_governors_name_although_the_old_one_still_answers(
    tmp_path: Path,
) -> None:
    port = free_port()
    environ = {
        "SLUICE_ROUTER_LISTEN": f"127.0.0.1:{free_port()}",
        "SLUICE_ROUTER_GOVERNOR": f"governor.test:{port}",
        "SLUICE_ROUTER_ID": "r",
    }
    async with (
        naming() as names,
        governing(100, port, host=HOSTS[0]) as (old, _),
        governing(200, port, host=HOSTS[1]) as (new, _),
        asking("services.router", environ, tmp_path),
    ):
        # The name is not there yet: a member waits for it.
        await until(lambda: names.asked, 30)
        names.records["governor.test"] = [HOSTS[0]]
        await until(lambda: [one.id for one in old.table.members()] == ["r"])

        names.records["governor.test"] = [HOSTS[1]]
        begun_at = _now()
        await until(lambda: [one.id for one in new.table.members()] == ["r"])
        took_s = _now() - begun_at
        logger.info("what it took in seconds: %s", took_s)
        assert took_s < PROMISED_S
        await until(lambda: not old.table.members())
