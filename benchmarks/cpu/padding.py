"""What cutting batches by length gains a mesh: two of them, alike but for a worker that pads."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import yaml

from benchmarks.child import child
from benchmarks.cpu.bench import MODEL, Bench
from benchmarks.cpu.load import OPEN, texts_for, texts_per_s
from benchmarks.cpu.served import check_cores
from benchmarks.cpu_mesh import cpu_mesh
from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.length_mix import LONGEST, SHORTEST
from benchmarks.rounds import interleave
from sluice.cli.addresses import choose_ports
from sluice.cli.mesh import LocalMesh
from sluice.runtime.config import FILE_VARIABLE
from sluice.runtime.program import PARENT_VARIABLE

TARGET = Target(1.5)
HOW = (
    f"texts per second through the mesh, {OPEN} open on one InferStream, texts of {SHORTEST} to {LONGEST} tokens, "
    "log-normal with a median of 45; against the same mesh whose worker computes every batch of the router whole, "
    "padded to its longest text"
)


async def measure(bench: Bench) -> list[Figure]:
    """The figure."""
    shape = bench.scale.distilbert
    stage = f"padding with {shape.name}"
    total = 2 * bench.scale.padded_rounds
    bench.progress(stage, 0, total)
    checkpoint = await bench.ready_checkpoint(shape)
    model = {"model": MODEL, "tier": "quantized", "checkpoint": checkpoint.name}
    async with (
        cpu_mesh([model], logs=bench.scratch / "logs", **bench.worker) as mesh,
        padding_mesh(bench, model) as (padding, worker),
    ):
        check_cores(mesh)
        check_cores(padding, [worker])
        texts = await bench.compute(
            partial(texts_for, mesh.router, seconds=bench.scale.seconds, least=bench.scale.texts)
        )
        await bench.compute(partial(texts_per_s, padding.router, texts[: bench.scale.texts]))
        routers = {"mesh_per_s": mesh.router, "padding_per_s": padding.router}
        legs = {name: partial(bench.compute, partial(texts_per_s, router, texts)) for name, router in routers.items()}
        rounds = await interleave(
            legs, rounds=bench.scale.padded_rounds, tick=lambda done: bench.progress(stage, done, total)
        )
    what = f"served, cut by length / padded to the longest, {shape.name}"
    notes = {"texts": len(texts)}
    return [ratio_figure(what, TARGET, rounds, of="mesh_per_s", to="padding_per_s", how=HOW, notes=notes)]


@asynccontextmanager
async def padding_mesh(bench: Bench, model: dict[str, str]) -> AsyncIterator[tuple[LocalMesh, int]]:
    """Router and padding worker, while the block runs; and the worker's process id."""
    at_worker, at_router = (f"127.0.0.1:{port}" for port in choose_ports(2))
    file = bench.scratch / "padding_worker.yaml"
    section = {"listen": at_worker, "models": [model], **bench.worker}
    file.write_text(yaml.safe_dump({"cpu_worker": section}), encoding="utf-8")
    environ = dict(os.environ)  # noqa: TID251
    worker = child(
        [sys.executable, "-m", "benchmarks.cpu.padding_worker"],
        environ=environ | {FILE_VARIABLE: str(file), PARENT_VARIABLE: str(os.getpid())},
        log=bench.scratch / "logs" / "padding_worker.log",
    )
    router = LocalMesh(
        {"router": {"listen": at_router, "workers": [at_worker]}},
        environ=environ,
        services=("router",),
        log_directory=bench.scratch / "logs" / "padding",
        on_event=lambda *_: None,
    )
    async with worker as process, router:
        yield router, process.pid
