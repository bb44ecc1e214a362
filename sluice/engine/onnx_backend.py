"""A checkpoint in int8 on a CPU, by ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from sluice.engine.checkpoint import Checkpoint
from sluice.engine.classification import classify
from sluice.engine.fault import one_line
from sluice.engine.int8_graph import int8_graph
from sluice.engine.onnx_export import OUTPUT_NAME
from sluice.engine.tokens import tokenize
from sluice.engine.warm_up import warm_up
from sluice.errors import InvalidRequest
from sluice.variant import Variant, variant_id
from sluice.worker.backend import Item, ModelSpec, Output

INT8 = "int8"


class OnnxBackend:
    """Text classification by an int8 graph. `cache` is where graphs are kept that had to be made."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, *, cache: Path) -> None:
        self._checkpoint = checkpoint
        graph = int8_graph(checkpoint, cache)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec.threads or len(os.sched_getaffinity(0))
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
            id=variant_id(spec.model, spec.tier, INT8),
            model=spec.model,
            tier=spec.tier,
            task=checkpoint.task,
            device="cpu",
            precision=INT8,
            labels=checkpoint.labels,
            max_tokens=checkpoint.max_tokens,
            max_batch_size=spec.max_batch_size,
            quality=checkpoint.quality,
            quality_by_complexity=checkpoint.quality_by_complexity,
        )

    def warm_up(self) -> None:
        """Run small batches, so that the arena has grown before the first request."""
        warm_up(self, self._checkpoint.path)

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """Classify; the padded length is the longest item's."""
        if self._session is None:
            raise RuntimeError("the backend is closed")
        outputs: list[Output | None] = [None] * len(items)
        tokens = tokenize(self._checkpoint, items, outputs=outputs, framework="np")
        if tokens is not None:
            feed = {name: array for name, array in tokens.inputs.items() if name in self._input_names}
            logits = self._session.run([OUTPUT_NAME], feed)[0]
            classify(logits, items, tokens.places, self._checkpoint, outputs)
        return [output for output in outputs if output is not None]

    def close(self) -> None:
        """Free the session and its arena."""
        self._session = None
