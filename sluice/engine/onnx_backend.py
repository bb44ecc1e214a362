"""A checkpoint in int8 on a CPU, by ONNX Runtime.

The int8 model is the checkpoint's own `onnx/model_int8.onnx`, or is made once from its weights and kept in a cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from sluice.engine.checkpoint import WEIGHTS, Checkpoint
from sluice.engine.classification import classify
from sluice.engine.onnx_export import export_int8
from sluice.engine.tokens import tokenize
from sluice.errors import InvalidRequest
from sluice.variant import Variant, variant_id
from sluice.worker.backend import Item, ModelSpec, Output

INT8 = "int8"
SHIPPED = Path("onnx") / "model_int8.onnx"

logger = logging.getLogger(__name__)


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
            raise InvalidRequest(f"{graph} is no model that can be run: {error}", field="checkpoint") from error
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
        for size in (1, 8):
            for output in self.execute([Item("warm up")] * size):
                if isinstance(output, Exception):
                    raise output

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """Classify; the padded length is the longest item's."""
        if self._session is None:
            raise RuntimeError("the backend is closed")
        outputs: list[Output | None] = [None] * len(items)
        tokens = tokenize(self._checkpoint, items, outputs=outputs, framework="np")
        if tokens is not None:
            feed = {name: array for name, array in tokens.inputs.items() if name in self._input_names}
            logits = self._session.run(["logits"], feed)[0]
            classify(logits, items, tokens.places, self._checkpoint.labels, outputs)
        return [output for output in outputs if output is not None]

    def close(self) -> None:
        """Free the session and its arena."""
        self._session = None


def int8_graph(checkpoint: Checkpoint, cache: Path) -> Path:
    """The checkpoint's int8 graph: the one it ships, or one made from its weights and kept under `cache`."""
    shipped = checkpoint.path / SHIPPED
    if shipped.is_file():
        return shipped
    digest = hashlib.sha256((checkpoint.path / "config.json").read_bytes())
    with (checkpoint.path / WEIGHTS).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    made = cache / digest.hexdigest()[:32] / SHIPPED.name
    if not made.is_file():
        logger.info("quantizing", extra={"checkpoint": str(checkpoint.path), "graph": str(made)})
        made.parent.mkdir(parents=True, exist_ok=True)
        export_int8(checkpoint.path, made)
    return made
