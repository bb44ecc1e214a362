"""A worker whose model waits instead of computing: `python -m benchmarks.overload.device`.

It is the real worker in all but its backend, so that two cores can stand for devices that are larger than they are.
The variable OVERLOAD_DEVICE says in JSON which of the two kinds of worker it is, and how fast it is in which tier.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from benchmarks.overload.speed import Speed, tokens_of, wait
from services.gpu_worker.config import GpuWorkerConfig
from sluice.domain.enums import MemberKind, Task, Tier
from sluice.domain.variant import BatchTime, Variant, variant_id
from sluice.runtime.program import main
from sluice.runtime.tracing import Tracing
from sluice.worker.app import serve
from sluice.worker.config import WorkerConfig
from sluice.worker.execution.backend import Backend, BackendLoader, Classification, Item, ModelSpec, Output

VARIABLE = "OVERLOAD_DEVICE"
# Qualities over all and by complexity. The full tier's is the demo model's own. Light and quantized are assumed: the
# demo's models measure 0.932 and 0.949, the other way round. The published results were made with these.
QUALITY = {
    Tier.FULL: (0.953, (0.980, 0.968, 0.962, 0.970, 0.948, 0.939, 0.932, 0.927)),
    Tier.LIGHT: (0.921, (0.978, 0.962, 0.951, 0.947, 0.915, 0.893, 0.870, 0.851)),
    Tier.QUANTIZED: (0.902, (0.975, 0.955, 0.938, 0.926, 0.893, 0.868, 0.841, 0.820)),
}
SIZES = (1, 4, 16, 64)
LENGTHS = (16, 64, 256)
LABEL = "identity"


class WaitingBackend:
    """Answers every text with one label, after as long as a device of its speed would take."""

    def __init__(self, spec: ModelSpec, speed: Speed) -> None:
        quality, by_complexity = QUALITY[spec.tier]
        self._speed = speed
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, spec.precision or "fp32"),
            model=spec.model,
            tier=spec.tier,
            task=Task.TEXT_CLASSIFICATION,
            precision=spec.precision or "fp32",
            labels=(LABEL,),
            max_batch_size=spec.max_batch_size,
            quality=quality,
            quality_by_complexity=by_complexity,
            profile=tuple(
                BatchTime(items=size, tokens=length, time_s=speed.batch_s(size * length), deviation_s=0.0)
                for length in LENGTHS
                for size in SIZES
            ),
        )

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """One label for all, when the time has passed."""
        wait(self._speed.batch_s(sum(tokens_of(item.text) for item in items)))
        return [Classification(label=LABEL, score=1.0)] * len(items)

    def close(self) -> None:
        """There is nothing to free."""


def stand_in(speeds: Mapping[str, Mapping[str, float]]) -> BackendLoader:
    """A loader of backends that are as fast as `speeds` says, by the tier's label."""

    def load(spec: ModelSpec) -> Backend:
        speed = speeds[spec.tier.label]
        return WaitingBackend(spec, Speed(base_s=speed["base_s"], token_s=speed["token_s"]))

    return load


def run() -> int:
    """Be the worker that the environment describes."""
    described = json.loads(os.environ[VARIABLE])  # noqa: TID251  a composition root
    load = stand_in(described["speeds"])
    kind = MemberKind[described["kind"].upper()]
    section = GpuWorkerConfig if kind is MemberKind.GPU_WORKER else WorkerConfig

    async def work(config: WorkerConfig, tracing: Tracing) -> None:
        await serve(config, tracing, kind=kind, load=load)

    return main(described["kind"], section, work)


if __name__ == "__main__":
    raise SystemExit(run())
