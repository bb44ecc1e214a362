"""How soon bad input is told so, while good requests go on: python -m benchmarks.refusals [--times N]

A mesh of real processes under a closed loop of good requests; each kind of bad input is sent again and again beside
it. Prints a table and writes benchmarks/results/refusals.json. The contract's bound is 100 ms. With --cost, measures
instead what a refusal by admission costs the router in CPU time, and writes benchmarks/results/refusal_cost.json; with
--against DIRECTORY beside what it costs the router of another checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.closed_loop import request
from benchmarks.identity_mesh import identity_mesh
from benchmarks.refusal_cost import compared_cost, refusal_cost
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

RESULTS = Path(__file__).parent / "results" / "refusals.json"
COSTS = RESULTS.with_name("refusal_cost.json")
INFER = "/sluice.v1.InferenceService/Infer"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
BACKGROUND = 16


def infer(**fields: object) -> tuple[str, bytes]:
    """One Infer with these fields."""
    return INFER, inference_pb2.InferRequest(**fields).SerializeToString()  # type: ignore[arg-type]


def model_infer(datatype: str, shape: list[int]) -> tuple[str, bytes]:
    """One ModelInfer with a tensor of this type and shape, which holds one text."""
    message = oip_pb2.ModelInferRequest(model_name="echo")
    message.inputs.add(name="text", datatype=datatype, shape=shape).contents.bytes_contents.append(b"text")
    return MODEL_INFER, message.SerializeToString()


BAD: Mapping[str, tuple[str, bytes]] = {
    "empty text": infer(text=""),
    "1 MB text": infer(text="x" * 1_000_000),
    "invalid UTF-8": (INFER, b"\x12\x02\xff\xfe"),
    "unknown model": infer(text="x", model="nobody"),
    "priority 1.5": infer(text="x", priority=1.5),
    "priority NaN": infer(text="x", priority=float("nan")),
    "OIP datatype": model_infer("FP32", [1]),
    "OIP shape": model_infer("BYTES", [7]),
}


@asynccontextmanager
async def good_requests(stub: inference_grpc.InferenceServiceStub) -> AsyncIterator[list[float]]:
    """A closed loop of good requests while the block runs; the list fills with their latencies in seconds."""
    latencies: list[float] = []

    async def caller() -> None:
        while True:
            sent_at = time.perf_counter()
            await stub.Infer(request(), timeout=10)
            latencies.append(time.perf_counter() - sent_at)

    callers = [asyncio.create_task(caller()) for _ in range(BACKGROUND)]
    try:
        yield latencies
    finally:
        for task in callers:
            task.cancel()
        for task in callers:
            with suppress(asyncio.CancelledError):
                await task


async def refused_after(channel: grpc.aio.Channel, method: str, data: bytes) -> tuple[str, float]:
    """The status of a call that must fail, and the milliseconds until it came."""
    sent_at = time.perf_counter()
    try:
        await channel.unary_unary(method)(data, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code().name, (time.perf_counter() - sent_at) * 1000
    raise RuntimeError(f"{method} answered what it must refuse")


async def measure(times: int) -> dict[str, dict[str, float | str]]:
    """Milliseconds by kind of bad input, and of the good requests beside them."""
    figures: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as logs:
        mesh = identity_mesh(logs)
        async with mesh, grpc.aio.insecure_channel(mesh.router) as channel:
            async with good_requests(inference_grpc.InferenceServiceStub(channel)) as good:
                for name, (method, data) in BAD.items():
                    seen = [await refused_after(channel, method, data) for _ in range(times)]
                    figures[name] = {"status": seen[0][0], **spread([after_ms for _, after_ms in seen])}
            figures["good requests beside them"] = {"status": "OK", **spread([one * 1000 for one in good])}
    return figures


def spread(values_ms: list[float]) -> dict[str, float]:
    """Median and greatest."""
    ordered = sorted(values_ms)
    return {"p50_ms": round(ordered[len(ordered) // 2], 2), "max_ms": round(ordered[-1], 2)}


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100, help="calls of each kind (default: %(default)s)")
    parser.add_argument("--cost", action="store_true", help="measure the CPU time of refusals by admission instead")
    parser.add_argument("--against", type=Path, help="with --cost: a checkout of another revision to compare with")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one cost (default: %(default)s)")
    parser.add_argument("--output", type=Path, help=f"where the figures go (default: {RESULTS} or {COSTS})")
    options = parser.parse_args()
    if options.cost:
        costs = uvloop.run(
            compared_cost(options.seconds, against=options.against.resolve())
            if options.against
            else refusal_cost(options.seconds)
        )
        Console().print_json(data=costs)
        (options.output or COSTS).write_text(json.dumps(costs, indent=2) + "\n", encoding="utf-8")
        return
    figures = uvloop.run(measure(options.times))
    table = Table(title=f"{options.times} of each, {BACKGROUND} good requests in flight", box=None)
    for column in ("what", "status", "p50 ms", "max ms"):
        table.add_column(column, justify="right" if column.endswith("ms") else "left")
    for name, one in figures.items():
        table.add_row(name, *(str(value) for value in one.values()))
    Console().print(table)
    (options.output or RESULTS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
