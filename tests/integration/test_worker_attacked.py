"""A worker whose callers send what is no message: each is refused by name, and whoever keeps the rules is served."""

from __future__ import annotations

import logging

import grpc
import pytest

from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.server.servicer import SERVICE
from tests.integration.live_worker import read, working
from tests.unit.streams import end_of
from tests.unit.worker.bench import HELD

UNREAD = b"\x0a\x05\x0a"
NO_UTF8 = worker_pb2.ExecuteRequest(cancel={}).SerializeToString() + b"\x0a\x06\x12\x04\xff\xfe\xfd\xfc"


async def test_bytes_that_are_no_message_are_refused_by_every_method_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with working() as running, grpc.aio.insecure_channel(running.address) as raw:
        good = await running.opened()
        with caplog.at_level(logging.WARNING):
            for unread in (UNREAD, NO_UTF8) * 10:
                unary = [raw.unary_unary(f"/{SERVICE}/{name}")(UNREAD) for name in ("LoadModel", "UnloadModel")]
                stream = raw.stream_stream(f"/{SERVICE}/Execute")(iter([unread]))
                codes = [await end_of(stream), *[await call.code() for call in unary]]
                assert codes == [grpc.StatusCode.INVALID_ARGUMENT] * 3
        written = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(written) == 1
        assert written[0].exc_info is None
        message = worker_pb2.Batch(id=1, variant=HELD)
        message.items.add(id=1, text="still served")
        await good.write(worker_pb2.ExecuteRequest(batch=message))
        assert (await read(good)).result.results[0].classification.label == "still served"


@pytest.mark.parametrize("model", ["", "m" * 129, "m\nn"])
async def test_a_model_gets_no_name_that_routers_would_refuse(model: str) -> None:
    async with working() as running:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.stub.LoadModel(worker_pb2.LoadModelRequest(model=model, tier=2, checkpoint="identity"))  # type: ignore[arg-type]
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details().startswith("model: ")
