"""A graph in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray


class OnnxRuntime:
    """A session. Its threads sleep between batches: if they spun, they would take the cores from other programs."""

    name = "onnxruntime"
    length_step = 1

    def __init__(self, graph: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.input_names = frozenset(one.name for one in self._session.get_inputs())

    def run(self, feed: Mapping[str, NDArray[Any]], output: str) -> NDArray[Any]:
        """The output of that name for one batch."""
        result: NDArray[Any] = self._session.run([output], dict(feed))[0]
        return result
