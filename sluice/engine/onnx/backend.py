"""A checkpoint on a CPU as a quantized ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sluice.engine.checkpoint.checkpoint import Checkpoint, describe
from sluice.engine.checkpoint.model import OUTPUT_NAMES
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, Pipeline, warm_up
from sluice.engine.onnx.export import int8_graph
from sluice.engine.onnx.runtime import Runtime, open_runtime
from sluice.runtime.cpu import granted_cores
from sluice.worker.execution.backend import Item, ModelSpec, Output

INT8 = "int8"


class OnnxBackend:
    """An int8 graph with the head of its task. `cache` is where graphs are kept that had to be made.

    A `graph` of another `precision` that is at hand is run as it is.
    """

    def __init__(
        self,
        spec: ModelSpec,
        checkpoint: Checkpoint,
        *,
        cache: Path,
        precision: str = INT8,
        graph: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self._output_name = OUTPUT_NAMES[checkpoint.task]
        graph = graph or int8_graph(checkpoint, cache)
        self.threads = spec.threads or granted_cores()
        runtime = open_runtime(graph, threads=self.threads, engine=spec.engine)
        self.runtime = runtime.name
        self._runtime: Runtime | None = runtime
        self._pipeline = Pipeline(checkpoint, overhead=CPU_OVERHEAD_TOKENS, step=runtime.length_step)
        self.variant = describe(spec, checkpoint, device="cpu", precision=precision)

    def warm_up(self) -> None:
        """Run small batches, so that the arena has grown before the first request."""
        warm_up(self, self.checkpoint.path)

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        """Read the texts into tokens."""
        return self._pipeline.prepare(items)

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """Classify or embed, as the checkpoint's task is. Raises RuntimeError once the backend is closed."""
        return self._pipeline.run(items, self.forward)

    def close(self) -> None:
        """Free the graph and its memory."""
        self._runtime = None

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The model's output for padded input, as Pipeline has it."""
        if self._runtime is None:
            raise RuntimeError("the backend is closed")
        wanted = self._runtime.input_names
        feed = {name: tensor.numpy() for name, tensor in inputs.items() if name in wanted}
        return torch.from_numpy(self._runtime.run(feed, self._output_name))
