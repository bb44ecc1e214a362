"""The CPU worker as a program: `python -m services.cpu_worker`."""

from __future__ import annotations

from functools import partial

from services.cpu_worker.load import load
from sluice.domain.enums import MemberKind
from sluice.runtime.cache_directory import cache_directory
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.testing.identity import with_identity
from sluice.worker.app import serve
from sluice.worker.config import WorkerConfig
from sluice.worker.models.loaders import with_openai, with_profiling


async def run(config: WorkerConfig, tracing: Tracing) -> None:
    """Serve the light and quantized tiers until SIGTERM."""
    with cache_directory(config.cache) as cache:
        measured = with_profiling(partial(load, cache=cache), seconds=config.profile_seconds, cache=cache)
        await serve(config, tracing, kind=MemberKind.CPU_WORKER, load=with_openai(with_identity(measured)))


if __name__ == "__main__":
    raise SystemExit(main("cpu_worker", WorkerConfig, run))
