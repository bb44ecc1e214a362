"""The loaders of both workers, called as the workers call them, and their outputs as tables of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.cpu_worker.load import load as cpu_load
from services.gpu_worker.load import load as gpu_load
from sluice.domain.enums import Tier
from sluice.worker.execution.backend import Backend, Classification, Embedding, Item, ModelSpec


def light(checkpoint: Path, *, precision: str = "") -> Backend:
    """As the CPU worker loads a light model."""
    return _warm(cpu_load(_spec(checkpoint, Tier.LIGHT, precision), cache="unused"))


def quantized(checkpoint: Path, cache: Path, *, precision: str = "") -> Backend:
    """As the CPU worker loads a quantized model."""
    return _warm(cpu_load(_spec(checkpoint, Tier.QUANTIZED, precision), cache=str(cache)))


def full(checkpoint: Path, *, precision: str = "", device: str = "cpu") -> Backend:
    """As the GPU worker loads a full model."""
    return _warm(gpu_load(_spec(checkpoint, Tier.FULL, precision), device_name=device))


def table(backend: Backend, texts: Sequence[str]) -> list[list[float]]:
    """A row of label probabilities for each text of one batch, in the order of the variant's labels."""
    labels = backend.variant.labels
    rows = []
    for output in backend.execute([Item(text, top_k=len(labels)) for text in texts]):
        assert isinstance(output, Classification), output
        scores = dict(output.scores)
        assert (output.label, output.score) == output.scores[0]
        rows.append([scores[label] for label in labels])
    return rows


def vectors(backend: Backend, texts: Sequence[str]) -> np.ndarray:
    """The vectors of one batch, (texts, width)."""
    rows = []
    for output in backend.execute([Item(text) for text in texts]):
        assert isinstance(output, Embedding)
        rows.append(output.values)
    return np.array(rows)


def _spec(checkpoint: Path, tier: Tier, precision: str) -> ModelSpec:
    return ModelSpec(model="mine", tier=tier, checkpoint=checkpoint, precision=precision, threads=1)


def _warm(backend: Backend) -> Backend:
    backend.warm_up()
    return backend
