"""The GPU worker as a program: `python -m services.gpu_worker`."""

from __future__ import annotations

import os
from functools import partial

from services.gpu_worker.config import GpuWorkerConfig
from services.gpu_worker.load import accelerator, keep_compiled, load
from sluice.domain.enums import MemberKind
from sluice.runtime.cache_directory import cache_directory
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.testing.identity import with_identity
from sluice.worker.app import serve
from sluice.worker.models.loaders import with_openai, with_profiling


async def run(config: GpuWorkerConfig, tracing: Tracing) -> None:
    """Serve the full tier until SIGTERM."""
    with cache_directory(config.cache) as cache:
        keep_compiled(cache, os.environ)  # noqa: TID251  torch reads nothing else
        opened = partial(load, device_name=config.device, mode=config.precision_mode)
        measured = with_profiling(opened, seconds=config.profile_seconds, cache=cache)
        await serve(
            config,
            tracing,
            kind=MemberKind.GPU_WORKER,
            load=with_openai(with_identity(measured)),
            accelerator=partial(accelerator, config.device),
        )


if __name__ == "__main__":
    raise SystemExit(main("gpu_worker", GpuWorkerConfig, run))
