"""A worker whose texts another process writes: over real streams, from the configuration to the last piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sluice.cli.addresses import free_port
from sluice.domain.enums import Tier
from sluice.domain.errors import Reason
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.loaders import with_openai
from tests.integration.live_worker import working
from tests.integration.test_configuration import complaint
from tests.integration.test_worker_texts import Heard, cancel, opened, text
from tests.unit.openai.fake_server import TIMEOUT_S, Answer, Body, FakeServer, Reply, serving, write
from tests.unit.openai.writing import server_at

pytestmark = pytest.mark.skipif(find_spec("httpx2") is None, reason="the worker extra is not installed")
CHAT = "chat/full-external"


def nothing_else(spec: ModelSpec) -> NoReturn:
    pytest.fail(f"another loader was asked for {spec.model}")


@asynccontextmanager
async def beside(answer: Answer, **settings: Any) -> AsyncIterator[tuple[FakeServer, Heard]]:
    """A server, and a router's stream to a worker that has its texts written there."""
    with serving(write("ready")) as server:
        async with working(load=with_openai(nothing_else)) as running:
            catalog = running.bench.catalog
            variant = await catalog.connect(server_at(server.url, **settings), model="chat", tier=Tier.FULL)
            assert variant.id == CHAT
            server.answer = answer
            try:
                yield server, await opened(running)
            finally:
                await catalog.close()


def asked(number: int, prompt: str, **fields: Any) -> worker_pb2.ExecuteRequest:
    return text(number, prompt, variant=CHAT, **fields)


async def test_texts_come_over_the_stream_as_they_are_written_elsewhere() -> None:
    async with beside(write("Once", " upon <", "end> a time", usage=(3, 5))) as (server, heard):
        await heard.call.write(asked(1, "Tell"))
        await heard.call.write(asked(2, "Tell", stop=["<end>"], max_new_tokens=9))
        ends = [await heard.last(number) for number in (1, 2)]
    assert [heard.text(number) for number in (1, 2)] == ["Once upon <end> a time", "Once upon "]
    assert [end.finish_reason for end in ends] == [inference_pb2.FINISH_REASON_STOP] * 2
    assert (ends[0].tokens, ends[0].prompt_tokens) == (5, 3)
    assert heard.credits == 2
    assert server.bodies[-1]["max_tokens"] in {9, 4095}


async def test_what_the_engine_says_of_a_request_goes_to_who_asked() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.status(400, {"error": {"message": "too long for me", "param": "max_tokens"}})

    async with beside(answer) as (_, heard):
        await heard.call.write(asked(1, "Tell"))
        status = (await heard.last(1)).status
    assert (status.reason, status.field, status.message) == (
        Reason.INVALID_ARGUMENT,
        "max_new_tokens",
        "too long for me",
    )


async def test_a_text_that_is_cancelled_or_late_is_cancelled_there() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("on and on")
        reply.until_hung_up()

    async with beside(answer) as (server, heard):
        late = asked(2, "Tell")
        late.generation.timeout.FromMilliseconds(50)
        await heard.call.write(asked(1, "Tell"))
        await heard.begun(1)
        await heard.call.write(late)
        await heard.call.write(cancel(1))
        statuses = [(await heard.last(number)).status.reason for number in (1, 2)]
        for _ in range(2):
            assert await asyncio.to_thread(server.hung_up.acquire, timeout=TIMEOUT_S)
    assert statuses == [Reason.CANCELLED, Reason.EXPIRED]


async def test_a_router_that_goes_away_hangs_up_there() -> None:
    def answer(reply: Reply, body: Body) -> None:
        reply.begin()
        reply.delta("on and on")
        reply.until_hung_up()

    async with beside(answer) as (server, heard):
        await heard.call.write(asked(1, "Tell"))
        await heard.begun(1)
        heard.call.cancel()
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=TIMEOUT_S)


@pytest.mark.parametrize(("worker", "tier"), [("gpu_worker", "full"), ("cpu_worker", "light")])
async def test_an_engine_that_is_not_there_stops_a_worker_at_its_start(tmp_path: Path, worker: str, tier: str) -> None:
    engine = {"url": f"http://127.0.0.1:{free_port()}/v1", "model": "there"}
    section = {"listen": "127.0.0.1:0", "models": [{"model": "chat", "tier": tier, "openai": engine}]}
    said = await complaint(worker, tmp_path, {worker: section})
    assert said.startswith(f"models.0.openai.url: the engine at {engine['url']} cannot be reached")
