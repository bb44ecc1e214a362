"""A model whose texts another process writes: a worker of either kind loads nothing, and speaks to that process."""

from __future__ import annotations

from collections.abc import Callable

from sluice.worker.execution.backend import Backend, BackendLoader, ModelSpec
from sluice.worker.execution.generator import Generator


def or_external(load: Callable[[ModelSpec], Backend | Generator]) -> BackendLoader:
    """A loader for what an `openai` server writes, which leaves all else to `load`."""

    def loader(spec: ModelSpec) -> Backend | Generator:
        if spec.openai is None:
            return load(spec)
        from sluice.engine.openai.generator import OpenAIGenerator

        return OpenAIGenerator(spec, spec.openai)

    return loader
