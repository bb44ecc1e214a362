"""The original and the result of a compression, asked the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sluice.compression.examples import Examples
from sluice.compression.measurement import Execute, Measurement, ask
from sluice.compression.quality import Quality, likeness, rightness
from sluice.compression.source import Source
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.checkpoint.model import OUTPUT_NAMES
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, Pipeline
from sluice.engine.onnx.backend import OnnxBackend
from sluice.engine.onnx.export import INPUT_NAMES
from sluice.worker.execution.backend import ModelSpec, Output

_FP32_BYTES = 4


class Progress(Protocol):
    """Told of what is being done, and how much of it is: `done` of `total` steps."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called when a stage begins, with 0 done, and after each of its steps."""


class Trial:
    """Measures size alone where there are no `examples`, and else speed and quality as well. The original comes first.

    Vectors have no right answer: those of the result are compared with those of the original.
    """

    def __init__(self, examples: Examples | None, progress: Progress) -> None:
        self._examples = examples
        self._progress = progress
        self._original: Sequence[Output] = ()

    def measure_original(self, source: Source) -> Measurement:
        """The model as it was opened. Raises InvalidRequest, field `evaluate`, for a text that has no vector."""
        model, checkpoint = source.model, source.checkpoint
        pipeline = Pipeline(checkpoint, overhead=CPU_OVERHEAD_TOKENS)

        @torch.inference_mode()
        def forward(inputs: dict[str, Tensor]) -> Tensor:
            computed: Tensor = model(**{name: inputs[name] for name in INPUT_NAMES})[OUTPUT_NAMES[checkpoint.task]]
            return computed

        speed, self._original = self._ask("measuring the original", lambda items: pipeline.run(items, forward))
        for output in self._original:
            if not checkpoint.labels and isinstance(output, SluiceError):
                raise InvalidRequest(f"not every text has a vector: {output.message}", field="evaluate")
        return Measurement(
            precision="fp32",
            runtime="torch",
            size_bytes=sum(parameter.numel() for parameter in model.parameters()) * _FP32_BYTES,
            items_per_s=speed,
            quality=self._quality(self._original),
        )

    def measure_result(self, made: Path, graph: Path, *, precision: str) -> Measurement:
        """The checkpoint directory `made` and its graph, opened and run as a worker will."""
        spec = ModelSpec(model="result", tier=Tier.QUANTIZED, checkpoint=made, threads=torch.get_num_threads())
        backend = OnnxBackend(spec, open_checkpoint(made), cache=made, precision=precision, graph=graph)
        backend.warm_up()
        speed, outputs = self._ask("measuring the result", backend.execute)
        backend.close()
        return Measurement(
            precision=precision,
            runtime=backend.runtime,
            size_bytes=graph.stat().st_size,
            items_per_s=speed,
            quality=self._quality(outputs),
        )

    def _ask(self, stage: str, execute: Execute) -> tuple[float | None, Sequence[Output]]:
        if self._examples is None:
            return None, ()
        total = len(self._examples.texts)
        self._progress(stage, 0, total)
        return ask(execute, self._examples.texts, on_text=lambda done: self._progress(stage, done, total))

    def _quality(self, outputs: Sequence[Output]) -> Quality:
        if self._examples is None:
            return Quality()
        if self._examples.labels:
            return rightness(outputs, self._examples.labels)
        return likeness(outputs, self._original)
