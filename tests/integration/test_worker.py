"""A worker's contract over real streams: credits, batches, models that come and go, and an orderly end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from services.router.requests.request import Request
from services.router.router import Router
from sluice.domain.errors import InvalidRequest, NoEndpoint, Reason, UnknownModel
from sluice.domain.variant import VariantState
from sluice.transport.server import LIVENESS, drain
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import Backend, ModelSpec
from tests.integration.fake_worker import router_to
from tests.integration.live_worker import CREDITS, MAX_ITEMS, read, working
from tests.unit.polling import until
from tests.unit.streams import end_of
from tests.unit.worker.bench import HELD

READY, UNLOADING = VariantState.READY, VariantState.UNLOADING


def batch(number: int, *texts: str, variant: str = HELD, first: int = 1, **more: Any) -> worker_pb2.ExecuteRequest:
    message = worker_pb2.Batch(id=number, variant=variant)
    for at, text in enumerate(texts, first):
        message.items.add(id=at, text=text, **more)
    return worker_pb2.ExecuteRequest(batch=message)


def cancel(*ids: int) -> worker_pb2.ExecuteRequest:
    return worker_pb2.ExecuteRequest(cancel=worker_pb2.CancelItems(ids=ids))


def reasons(response: worker_pb2.ExecuteResponse) -> dict[int, str]:
    """What came of each item: its label, or the reason of its failure."""
    return {one.id: one.status.reason or one.classification.label for one in response.result.results}


async def test_a_router_is_welcomed_with_credits_and_gets_one_back_with_each_result() -> None:
    async with working() as running:
        call = running.stub.Execute()
        first = await read(call)
        assert [one.id for one in first.welcome.variants] == [HELD]
        assert (first.credit.batches, first.credit.max_items) == (CREDITS, MAX_ITEMS)
        for number in range(1, 4):
            await call.write(batch(number, "a", "b"))
            response = await read(call)
            assert (response.result.batch_id, reasons(response)) == (number, {1: "a", 2: "b"})
            assert response.credit.batches == 1
        await call.done_writing()
        assert await end_of(call) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "sent",
    [[batch(number, "x") for number in (2, 3)], [batch(1, "x")], [batch(2)], [batch(2, *"abcde")]],
    ids=["too many", "a number twice", "empty", "too long"],
)
async def test_a_router_that_exceeds_its_credits_is_cut_off_and_another_is_not(
    sent: Sequence[worker_pb2.ExecuteRequest],
) -> None:
    async with working() as running:
        running.bench.backend.go_on.clear()
        greedy, modest = await running.opened(), await running.opened()
        await greedy.write(batch(1, "first"))
        await running.bench.begun()
        await modest.write(batch(1, "modest"))
        for request in sent:
            await greedy.write(request)
        assert await end_of(greedy) is grpc.StatusCode.RESOURCE_EXHAUSTED
        running.bench.backend.go_on.set()
        assert reasons(await read(modest)) == {1: "modest"}
    assert running.bench.backend.calls == [["first"], ["modest"]]


async def test_items_of_an_unknown_variant_may_go_elsewhere() -> None:
    async with working() as running:
        call = await running.opened()
        await call.write(batch(1, "a", "b", variant="m/full-bf16"))
        response = await read(call)
        assert [one.status.code for one in response.result.results] == [grpc.StatusCode.UNAVAILABLE.value[0]] * 2
        assert reasons(response) == {1: Reason.NO_ENDPOINTS, 2: Reason.NO_ENDPOINTS}
        assert response.credit.batches == 1


async def test_expired_and_cancelled_items_are_told_and_not_computed() -> None:
    async with working() as running:
        running.bench.backend.go_on.clear()
        call = await running.opened()
        await call.write(batch(1, "running"))
        await running.bench.begun()
        waiting = batch(2, "expired", "cancelled", "wanted", first=2)
        waiting.batch.items[0].timeout.CopyFrom(Duration())
        await call.write(waiting)
        await until(lambda: running.servicer.open_items() == 4)
        await call.write(cancel(3, 99))
        session = next(iter(running.servicer._streams)).batches
        await until(lambda: 3 in session._open[2].cancelled)
        running.bench.backend.go_on.set()
        assert reasons(await read(call)) == {1: "running"}
        assert reasons(await read(call)) == {2: Reason.EXPIRED, 3: Reason.CANCELLED, 4: "wanted"}
    assert running.bench.backend.calls == [["running"], ["wanted"]]


async def test_what_a_router_that_goes_away_had_waiting_is_not_computed() -> None:
    async with working() as running:
        running.bench.backend.go_on.clear()
        gone, stays = await running.opened(), await running.opened()
        await gone.write(batch(1, "running"))
        await running.bench.begun()
        await gone.write(batch(2, "waits"))
        await until(lambda: running.servicer.open_items() == 2)
        gone.cancel()
        await until(lambda: running.servicer.open_items() == 0)
        await stays.write(batch(1, "other"))
        running.bench.backend.go_on.set()
        assert reasons(await read(stays)) == {1: "other"}
    assert running.bench.backend.calls == [["running"], ["other"]]


def unreadable(spec: ModelSpec) -> Backend:
    raise InvalidRequest("config.json is missing", field="checkpoint")


async def test_a_worker_that_holds_nothing_is_unavailable_and_says_so_when_asked() -> None:
    async with working(load=unreadable) as running:
        assert await end_of(running.stub.Execute()) is grpc.StatusCode.UNAVAILABLE
        described = await running.stub.DescribeModels(worker_pb2.DescribeModelsRequest())
        assert (described.worker.worker, list(described.worker.variants)) == ("w1", [])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.LoadModel(load(checkpoint="identity"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "config.json is missing"


def load(model: str = "new", tier: int = 3, checkpoint: str = "good") -> worker_pb2.LoadModelRequest:
    return worker_pb2.LoadModelRequest(model=model, tier=tier, checkpoint=checkpoint)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (load(checkpoint="missing"), grpc.StatusCode.NOT_FOUND),
        (load(checkpoint="x" * 5_000), grpc.StatusCode.NOT_FOUND),
        (load(model="m", tier=2), grpc.StatusCode.ALREADY_EXISTS),
        (load(model=""), grpc.StatusCode.INVALID_ARGUMENT),
        (load(tier=0), grpc.StatusCode.INVALID_ARGUMENT),
        (load(tier=9), grpc.StatusCode.INVALID_ARGUMENT),
        (load(checkpoint=""), grpc.StatusCode.INVALID_ARGUMENT),
        (load(checkpoint="../outside"), grpc.StatusCode.INVALID_ARGUMENT),
        (load(checkpoint="leak"), grpc.StatusCode.INVALID_ARGUMENT),
        (load(checkpoint="nul\0byte"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=lambda value: value.name if isinstance(value, grpc.StatusCode) else value.checkpoint[:20].replace("\0", ""),
)
async def test_what_cannot_be_loaded_has_its_status_and_changes_nothing(
    tmp_path: Path, request_: worker_pb2.LoadModelRequest, code: grpc.StatusCode
) -> None:
    for name in ("models/good", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "leak").symlink_to(tmp_path / "outside")
    async with working(tmp_path / "models") as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.LoadModel(request_)
        assert caught.value.code() is code
        described = await running.stub.DescribeModels(worker_pb2.DescribeModelsRequest())
        assert [(one.id, one.state) for one in described.worker.variants] == [(HELD, READY)]


async def test_a_router_is_told_at_once_of_what_is_loaded_and_unloaded() -> None:
    async with working() as running:
        call = await running.opened()
        loaded = (await running.stub.LoadModel(load(checkpoint="identity"))).variant
        assert [one.id for one in (await read(call)).welcome.variants] == [HELD, loaded.id]
        await running.stub.UnloadModel(worker_pb2.UnloadModelRequest(variant=loaded.id))
        states = [[one.state for one in (await read(call)).welcome.variants] for _ in range(2)]
        assert states == [[READY, UNLOADING], [READY]]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.UnloadModel(worker_pb2.UnloadModelRequest(variant=loaded.id))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def ask(router: Router, model: str, text: str = "text") -> str:
    answer = await router.infer(Request(model=model, text=text, deadline=time.monotonic() + 10))
    return answer.result.classification.label


async def test_a_router_asks_a_new_model_as_soon_as_it_is_loaded_and_no_longer_when_it_is_not() -> None:
    async with working() as running, router_to(running.address) as router:
        with pytest.raises(UnknownModel):
            await ask(router, "new")
        loaded = (await running.stub.LoadModel(load(checkpoint="identity"))).variant
        await until(lambda: loaded.id in router.view.variants)
        assert await ask(router, "new") == "text"
        await running.stub.UnloadModel(worker_pb2.UnloadModelRequest(variant=loaded.id))
        await until(lambda: loaded.id not in router.view.variants)
        with pytest.raises(NoEndpoint):
            await ask(router, "new")
        assert await ask(router, "m") == "text"


async def test_unloading_under_load_answers_what_was_sent() -> None:
    async with working() as running, router_to(running.address, max_batch_size=1) as router:
        running.bench.backend.go_on.clear()
        sent = [asyncio.create_task(ask(router, "m", f"text {number}")) for number in range(CREDITS)]
        await until(lambda: running.servicer.open_items() == CREDITS)
        unloading = running.stub.UnloadModel(worker_pb2.UnloadModelRequest(variant=HELD))
        await until(lambda: not router.view.variants)
        running.bench.backend.go_on.set()
        assert await asyncio.gather(*sent) == [f"text {number}" for number in range(CREDITS)]
        await unloading


async def test_a_draining_worker_says_so_finishes_what_it_has_and_takes_nothing_new() -> None:
    async with working() as running:
        running.bench.backend.go_on.clear()
        call = await running.opened()
        await call.write(batch(1, "running"))
        await running.bench.begun()
        await call.write(batch(2, "waits", first=2))
        await until(lambda: running.servicer.open_items() == 2)
        ending = asyncio.create_task(drain(running.server, running.servicer.drain, grace_s=20))
        assert (await read(call)).welcome.draining
        assert (await running.says_serving(), await running.says_serving(LIVENESS)) == (False, True)
        assert await end_of(running.stub.Execute()) is grpc.StatusCode.UNAVAILABLE
        running.bench.backend.go_on.set()
        results = [await read(call) for _ in range(2)]
        assert [reasons(one) for one in results] == [{1: "running"}, {2: "waits"}]
        assert not any(one.HasField("credit") for one in results)
        await call.done_writing()
        assert await end_of(call) is grpc.StatusCode.OK
        await asyncio.wait_for(ending, 10)
