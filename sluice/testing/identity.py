"""A backend without a model: it answers every text at once, or after a given time. For tests and benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sluice.domain.enums import Task
from sluice.domain.variant import Variant, variant_id
from sluice.testing.echo import EchoGenerator
from sluice.worker.execution.backend import Backend, BackendLoader, Classification, Item, ModelSpec, Output
from sluice.worker.execution.generator import GenerationEngine
from sluice.worker.models.registry import ECHO, IDENTITY

_OUTPUT = Classification(label=IDENTITY, score=1.0)


class IdentityBackend:
    """Answers each item with the label `identity`; a batch takes `delay_s`."""

    def __init__(self, spec: ModelSpec, *, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, spec.precision or "fp32"),
            model=spec.model,
            tier=spec.tier,
            task=Task.TEXT_CLASSIFICATION,
            precision=spec.precision or "fp32",
            labels=(IDENTITY,),
            max_batch_size=spec.max_batch_size,
        )

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """The same output for each."""
        if self._delay_s:
            time.sleep(self._delay_s)
        return [_OUTPUT] * len(items)

    def close(self) -> None:
        """There is nothing to free."""


def with_identity(load: Callable[[ModelSpec], Backend | GenerationEngine]) -> BackendLoader:
    """A loader for the checkpoint names `identity` and `echo`, which leaves all others to `load`."""

    def loader(spec: ModelSpec) -> Backend | GenerationEngine:
        if spec.checkpoint == Path(IDENTITY):
            return IdentityBackend(spec)
        return EchoGenerator(spec) if spec.checkpoint == Path(ECHO) else load(spec)

    return loader
