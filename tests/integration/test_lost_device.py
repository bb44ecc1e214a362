"""A worker whose device is lost under traffic: it drains, ends for its supervisor to see, and no request fails."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import yaml

from services.router.requests.request import Request
from services.router.router import Router
from sluice.cli.addresses import free_port
from sluice.cli.process import ServiceProcess
from sluice.domain.enums import Tier
from sluice.domain.errors import SluiceError
from tests.integration.fake_worker import router_to
from tests.integration.live_worker import working
from tests.integration.losing_worker import PULL
from tests.unit.polling import until

ASKED_AT_ONCE = 6


async def ask(router: Router, text: str, outcomes: Counter[str]) -> None:
    """One request for the model that both workers serve."""
    try:
        answer = await router.infer(Request(model="m", text=text, deadline=time.monotonic() + 20))
    except SluiceError as error:
        outcomes[f"{error.reason}: {error.message}"] += 1
    else:
        outcomes[f"{answer.variant.tier.label}"] += 1


async def test_a_worker_that_loses_its_device_drains_and_ends_and_its_requests_are_answered_elsewhere(
    tmp_path: Path,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    entry = {"model": "m", "tier": "full", "checkpoint": "identity"}
    settings = {"gpu_worker": {"listen": address, "models": [entry], "autonomous": False}}
    file = tmp_path / "sluice.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    losing = ServiceProcess(
        "gpu_worker",
        address=address,
        environ={**os.environ, "SLUICE_CONFIG": str(file)},
        log=tmp_path / "log",
        module="tests.integration.losing_worker",
    )
    losing.start()
    await losing.ready(60)
    outcomes: Counter[str] = Counter()
    over = asyncio.Event()

    async def keep_asking(router: Router) -> None:
        while not over.is_set():
            await ask(router, "hello", outcomes)

    async with working() as other, router_to(address, other.address) as router:
        await other.bench.catalog.load(model="m", tier=Tier.FULL, checkpoint="identity")
        askers = [asyncio.create_task(keep_asking(router)) for _ in range(ASKED_AT_ONCE)]
        await until(lambda: outcomes.total() > 100, 20)
        # Of the two workers one is lost to this; the other one takes the text for any other.
        while losing.exit_code is None:
            await ask(router, PULL, outcomes)
        served = outcomes.total()
        await until(lambda: outcomes.total() > served + 100, 20)
        over.set()
        await asyncio.gather(*askers)
        assert {link.address: link.up for link in router.pool.links()} == {address: False, other.address: True}
    assert losing.exit_code == 1
    assert outcomes.keys() <= {"full", "light"}, outcomes
    log = losing.log.read_text(encoding="utf-8")
    assert '"message": "the device is lost"' in log
    last = log.splitlines()[-1]
    assert last.startswith(
        "sluice gpu_worker: the device is lost (its context is broken); restart the process: RuntimeError"
    )
