"""A checkpoint in int8 on a CPU, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from sluice.engine.checkpoint import Checkpoint
from sluice.engine.cores import granted_cores
from sluice.engine.fault import one_line
from sluice.engine.int8_graph import int8_graph
from sluice.engine.model import OUTPUT_NAMES
from sluice.engine.pipeline import CPU_OVERHEAD_TOKENS, Pipeline
from sluice.engine.warm_up import warm_up
from sluice.errors import InvalidRequest
from sluice.variant import Variant, variant_id
from sluice.worker.backend import Item, ModelSpec, Output

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
        self._pipeline = Pipeline(checkpoint, overhead=CPU_OVERHEAD_TOKENS)
        self._output_name = OUTPUT_NAMES[checkpoint.task]
        graph = graph or int8_graph(checkpoint, cache)
        options = onnxruntime.SessionOptions()
        self.threads = options.intra_op_num_threads = spec.threads or granted_cores()
        options.inter_op_num_threads = 1
        # Threads that spin between batches would take the cores from the other programs on this machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InvalidRequest(
                f"{graph} is no model that can be run: {one_line(error)}", field="checkpoint"
            ) from error
        self._session: onnxruntime.InferenceSession | None = session
        self._input_names = {one.name for one in session.get_inputs()}
        self.variant = Variant(
            id=variant_id(spec.model, spec.tier, precision),
            model=spec.model,
            tier=spec.tier,
            task=checkpoint.task,
            device="cpu",
            precision=precision,
            labels=checkpoint.labels,
            max_tokens=checkpoint.max_tokens,
            max_batch_size=spec.max_batch_size,
            quality=checkpoint.quality,
            quality_by_complexity=checkpoint.quality_by_complexity,
        )

    def warm_up(self) -> None:
        """Run small batches, so that the arena has grown before the first request."""
        warm_up(self, self.checkpoint.path)

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """Classify or embed, as the checkpoint's task is. Raises RuntimeError once the backend is closed."""
        return self._pipeline.run(items, self.forward)

    def close(self) -> None:
        """Free the session and its arena."""
        self._session = None

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """The model's output for padded input, as Pipeline has it."""
        if self._session is None:
            raise RuntimeError("the backend is closed")
        feed = {name: tensor.numpy() for name, tensor in inputs.items() if name in self._input_names}
        return torch.from_numpy(self._session.run([self._output_name], feed)[0])
