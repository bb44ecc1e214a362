"""The benchmark's GPU worker: python -m benchmarks.writing.worker, with a configuration as the GPU worker's.

The directory of its one model holds `scale.json`. It gets `profile.json` with where the worker's threads and the turns
of its loop were since it was last taken away.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from benchmarks.writing.scale import Scale
from services.gpu_worker.config import GpuWorkerConfig
from services.gpu_worker.load import accelerator
from sluice.domain.enums import MemberKind
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.worker.app import serve
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import GenerationEngine

SCALE, PROFILE = "scale.json", "profile.json"


async def run(config: GpuWorkerConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM."""
    await serve(
        config,
        tracing,
        kind=MemberKind.GPU_WORKER,
        load=partial(load, config),
        accelerator=partial(accelerator, config.device),
    )


def load(config: GpuWorkerConfig, spec: ModelSpec) -> GenerationEngine:
    """The generator; from its warm-up on it is watched."""
    from benchmarks.gpu.meter import limit
    from benchmarks.writing.model import generator_of
    from benchmarks.writing.sampler import Sampler
    from benchmarks.writing.step_clock import StepClock
    from sluice.engine.accelerator import pick_device

    folder = Path(spec.checkpoint)
    scale = Scale(**json.loads((folder / SCALE).read_text(encoding="utf-8")))
    device = pick_device(config.device)
    if device.type != "cpu":
        limit(device, scale.budget_bytes)
    generator = generator_of(spec, scale, device, compiles=config.generation_compile and device.type != "cpu")
    usual = generator.warm_up

    def warm_up() -> None:
        usual()
        Sampler(folder / PROFILE, StepClock(generator)).start()

    vars(generator)["warm_up"] = warm_up
    return generator


if __name__ == "__main__":
    raise SystemExit(main("gpu_worker", GpuWorkerConfig, run))
