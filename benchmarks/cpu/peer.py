"""The quantized tier through the mesh against MLServer and the fp32 model, asked by the same client."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import grpc

from benchmarks.closed_loop import keep_open
from benchmarks.cpu.bench import MODEL, Bench
from benchmarks.cpu.mlserver import Settings, mlserver
from benchmarks.cpu.served import check_cores
from benchmarks.cpu.texts import texts_of
from benchmarks.cpu_mesh import cpu_mesh
from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.foreign import MLSERVER
from benchmarks.rounds import interleave
from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.open_inference import grpc_service_pb2_grpc as oip_grpc

IN_FLIGHT, TOKENS = 128, 32
TARGET = Target(6.0)
TIMEOUT_S = 120.0
HOW = (
    f"answers per second to {IN_FLIGHT} callers of ModelInfer (Open Inference Protocol, gRPC) who each wait for "
    f"theirs, a text of {TOKENS} tokens a call, the same client for both; mesh: governor, router and cpu_worker, "
    f"quantized tier; {MLSERVER}: the same checkpoint in fp32 by transformers in a runtime of its own, adaptive "
    "batching at the best of the settings in the notes: {best}; every process may use all cores"
)


async def measure(bench: Bench) -> list[Figure]:
    """The figure."""
    shape, scale = bench.scale.distilbert, bench.scale
    stage = f"MLServer and {shape.name}"
    total = len(scale.mlserver) + 2 * scale.rounds
    bench.progress(stage, 0, total)
    checkpoint = await bench.ready_checkpoint(shape)
    messages = questions()
    seconds = 2 * scale.seconds
    by_settings = {}
    for done, settings in enumerate(scale.mlserver, start=1):
        by_settings[settings] = await tried(bench, checkpoint, settings, messages)
        bench.progress(stage, done, total)
    best = max(by_settings, key=lambda settings: by_settings[settings])
    served = {"model": MODEL, "tier": "quantized", "checkpoint": checkpoint.name}
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(cpu_mesh([served], logs=bench.scratch / "logs", **bench.worker))
        peer, pid = await stack.enter_async_context(mlserver(checkpoint, best, model=MODEL, scratch=bench.scratch))
        check_cores(mesh, [pid])
        legs = {
            "mesh_per_s": partial(answers_per_s, mesh.router, messages, seconds),
            "mlserver_per_s": partial(answers_per_s, peer, messages, seconds),
        }
        for address in (mesh.router, peer):
            await answers_per_s(address, messages, scale.seconds / 4)
        rounds = await interleave(
            legs, rounds=scale.rounds, tick=lambda done: bench.progress(stage, len(scale.mlserver) + done, total)
        )
    notes = {"mlserver_per_s_by_settings": {str(one): round(value, 1) for one, value in by_settings.items()}}
    what = f"served int8 / MLServer fp32, {shape.name}"
    how = HOW.format(best=best)
    return [ratio_figure(what, TARGET, rounds, of="mesh_per_s", to="mlserver_per_s", how=how, notes=notes)]


def questions() -> list[oip_pb2.ModelInferRequest]:
    """Different requests of one text each; the same ones every time."""
    messages = []
    for text in texts_of([TOKENS] * IN_FLIGHT, random.Random(6)):
        message = oip_pb2.ModelInferRequest(model_name=MODEL)
        message.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(text.encode())
        messages.append(message)
    return messages


async def tried(
    bench: Bench, checkpoint: Path, settings: Settings, messages: Sequence[oip_pb2.ModelInferRequest]
) -> float:
    """Answers per second of MLServer with these settings, for a while."""
    async with mlserver(checkpoint, settings, model=MODEL, scratch=bench.scratch) as (address, _):
        await answers_per_s(address, messages, bench.scale.seconds / 4)
        return await answers_per_s(address, messages, bench.scale.seconds)


async def answers_per_s(address: str, messages: Sequence[oip_pb2.ModelInferRequest], seconds: float) -> float:
    """Answers per second to IN_FLIGHT callers. Raises AioRpcError when a call fails."""
    source = itertools.cycle(messages)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)
        figures = await keep_open(
            lambda: stub.ModelInfer(next(source), timeout=TIMEOUT_S), in_flight=IN_FLIGHT, seconds=seconds
        )
    return figures.per_s
