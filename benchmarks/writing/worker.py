"""The benchmark's GPU worker: python -m benchmarks.writing.worker, with a configuration as the GPU worker's.

The directory of its one model holds `scale.json`. It gets `found.json` with what the engine wrote by itself, and
`profile.json` with where the worker's threads and the turns of its loop were since it was last taken away.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.writing.scale import Scale
from benchmarks.writing.step_clock import StepClock
from services.gpu_worker.config import GpuWorkerConfig
from services.gpu_worker.load import accelerator
from sluice.program import main
from sluice.telemetry import Tracing
from sluice.tier import MemberKind
from sluice.worker.app import serve
from sluice.worker.backend import ModelSpec
from sluice.worker.generator import Generator

SCALE, FOUND, PROFILE = "scale.json", "found.json", "profile.json"


async def run(config: GpuWorkerConfig, tracing: Tracing) -> None:
    """Serve until SIGTERM."""
    await serve(
        config,
        tracing,
        kind=MemberKind.GPU_WORKER,
        load=partial(load, config),
        accelerator=partial(accelerator, config.device),
    )


def load(config: GpuWorkerConfig, spec: ModelSpec) -> Generator:
    """The generator, which measures itself when it warms up."""
    import torch

    from benchmarks.writing.alone import Measured
    from benchmarks.writing.model import generator_of
    from benchmarks.writing.sampler import Sampler
    from sluice.engine.accelerator import pick_device

    folder = Path(spec.checkpoint)
    scale = Scale(**json.loads((folder / SCALE).read_text(encoding="utf-8")))
    device = pick_device(config.device)
    if device.type != "cpu":
        module = torch.get_device_module(device)
        # More than the budget is out of memory, whatever the device has.
        module.set_per_process_memory_fraction(scale.budget_gb * 1e9 / module.mem_get_info(device)[1], device)
    generator = generator_of(spec, scale, device, compiles=config.generation_compile and device.type != "cpu")

    def tell(found: dict[str, Any], clock: StepClock) -> None:
        (folder / FOUND).write_text(json.dumps(found), encoding="utf-8")
        Sampler(folder / PROFILE, clock).start()

    return Measured(generator, scale, tell)


if __name__ == "__main__":
    raise SystemExit(main("gpu_worker", GpuWorkerConfig, run))
