"""What is left, through the whole mesh, of the speed that the same engine has in a loop over the same texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import psutil

from benchmarks.cpu.bench import MODEL, Bench
from benchmarks.cpu.load import OPEN, texts_for, texts_per_s
from benchmarks.cpu.speed import rate
from benchmarks.cpu_mesh import cpu_mesh
from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.length_mix import LONGEST, SHORTEST
from benchmarks.rounds import interleave
from sluice.cli.mesh import LocalMesh
from sluice.domain.errors import SluiceError
from sluice.worker.execution.backend import Backend, Item

TARGET = Target(0.85)
HOW = (
    f"texts per second, the same texts of {SHORTEST} to {LONGEST} tokens, log-normal with a median of 45, in the same "
    f"order; mesh: governor, router and cpu_worker as processes, our client with {OPEN} texts open on one InferStream, "
    "from the first one sent to the last one answered; loop: the same engine in one process, tokenisation and cutting "
    "by length included, nothing else, batches of {best} texts, the best of {sizes}; every process may use all cores"
)


async def measure(bench: Bench) -> list[Figure]:
    """The figure."""
    shape, sizes = bench.scale.distilbert, bench.scale.batch_sizes
    stage = f"served throughput of {shape.name}"
    total = 2 * bench.scale.rounds + len(sizes)
    bench.progress(stage, 0, total)
    checkpoint = await bench.checkpoint(shape)
    model = {"model": MODEL, "tier": "quantized", "checkpoint": checkpoint.name}
    mesh = cpu_mesh([model], logs=bench.scratch / "logs", **bench.worker)
    async with bench.engine(checkpoint) as backend, mesh:
        check_cores(mesh)
        texts = await bench.compute(
            partial(texts_for, mesh.router, seconds=bench.scale.seconds, least=bench.scale.texts)
        )
        by_size = {}
        for done, size in enumerate(sizes, start=1):
            by_size[size] = await bench.compute(partial(loop_per_s, backend, texts, size))
            bench.progress(stage, done, total)
        best = max(by_size, key=lambda size: by_size[size])
        legs = {
            "mesh_per_s": lambda: bench.compute(partial(texts_per_s, mesh.router, texts)),
            "loop_per_s": lambda: bench.compute(partial(loop_per_s, backend, texts, best)),
        }
        rounds = await interleave(
            legs,
            rounds=bench.scale.rounds,
            tick=lambda done: bench.progress(stage, len(sizes) + done, total),
        )
    how = HOW.format(best=best, sizes=", ".join(map(str, sizes)))
    notes = {"texts": len(texts), "loop_per_s_by_batch_size": {str(size): round(by_size[size], 1) for size in sizes}}
    what = f"served / raw loop, {shape.name}, mixed lengths"
    return [ratio_figure(what, TARGET, rounds, of="mesh_per_s", to="loop_per_s", how=how, notes=notes)]


def loop_per_s(backend: Backend, texts: Sequence[str], size: int) -> float:
    """Texts per second of one pass over `texts` in batches of `size`. Raises the first error of a text."""
    return rate(lambda: run_all(backend, texts, size), items=len(texts), seconds=0.0)


def run_all(backend: Backend, texts: Sequence[str], size: int) -> None:
    """One pass over `texts` in batches of `size`. Raises the first error of a text."""
    items = [Item(text, truncate=True) for text in texts]
    for start in range(0, len(items), size):
        for output in backend.execute(items[start : start + size]):
            if isinstance(output, SluiceError):
                raise output


def check_cores(mesh: LocalMesh, others: Iterable[int] = ()) -> None:
    """Raise RuntimeError unless the mesh, and processes of `others`, may use the cores that we may use."""
    ours = psutil.Process().cpu_affinity()
    for pid in (*(process.pid for process in mesh.processes.values()), *others):
        if psutil.Process(pid).cpu_affinity() != ours:
            raise RuntimeError(f"process {pid} may use other cores than the benchmark does, which has {ours}")
