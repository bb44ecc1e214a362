"""What a worker process holds in memory when it serves a model in int8, in fp32, or none at all."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cpu.bench import MODEL, Bench
from benchmarks.cpu.load import mixed_texts, texts_per_s
from benchmarks.cpu_mesh import cpu_mesh
from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.rounds import Leg, interleave
from sluice.engine.encoder.profiler import PEAK, status_bytes

TARGET = Target(0.5, at_most=True)
SETTLED_AFTER_S = 1.0
MIB = 1 << 20
HOW = (
    "resident memory of a fresh cpu_worker process that serves the same checkpoint in the quantized tier, by default "
    "and with precision fp32, after its warm-up and texts of mixed lengths through the mesh; the int8 graph was made "
    "before; idle is a worker without a model or its libraries"
)


async def measure(bench: Bench) -> list[Figure]:
    """The figure of whole processes; its notes tell the part above an idle worker, and the peaks."""
    shape = bench.scale.distilbert
    stage = f"memory of {shape.name}"
    total = 3 * bench.scale.processes
    bench.progress(stage, 0, total)
    checkpoint = await bench.ready_checkpoint(shape)
    served = {"model": MODEL, "tier": "quantized", "checkpoint": checkpoint.name}
    peaks: dict[str, list[float]] = {}
    legs = {
        "int8_mib": _leg(bench, served, peaks.setdefault("int8_mib", [])),
        "fp32_mib": _leg(bench, served | {"precision": "fp32"}, peaks.setdefault("fp32_mib", [])),
        "idle_mib": _leg(bench, served | {"checkpoint": "identity"}, peaks.setdefault("idle_mib", [])),
    }
    rounds = await interleave(legs, rounds=bench.scale.processes, tick=lambda done: bench.progress(stage, done, total))
    medians = rounds.medians()
    above_idle = (medians["int8_mib"] - medians["idle_mib"]) / (medians["fp32_mib"] - medians["idle_mib"])
    notes: dict[str, Any] = {
        "ratio_above_idle": round(above_idle, 3),
        "peaks": {name: [round(value, 1) for value in values] for name, values in peaks.items()},
    }
    what = f"worker RSS, int8 / fp32, {shape.name}"
    return [ratio_figure(what, TARGET, rounds, of="int8_mib", to="fp32_mib", how=HOW, notes=notes)]


def _leg(bench: Bench, model: dict[str, str], peaks: list[float]) -> Leg:
    texts = mixed_texts(bench.scale.texts)

    async def resident_mib() -> float:
        async with cpu_mesh([model], logs=bench.scratch / "logs", **bench.worker) as mesh:
            await bench.compute(partial(texts_per_s, mesh.router, texts))
            await asyncio.sleep(SETTLED_AFTER_S)
            pid = mesh.processes["cpu_worker"].pid
            peaks.append(_peak_mib(pid))
            return float(psutil.Process(pid).memory_info().rss / MIB)

    return resident_mib


def _peak_mib(pid: int) -> float:
    """The most that was resident so far; NaN where the system does not tell."""
    peak = status_bytes(Path("/proc", str(pid)), PEAK)
    return float("nan") if peak is None else peak / MIB
