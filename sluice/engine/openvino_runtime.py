"""A graph in OpenVINO on the CPU.

int8 weights stay int8, and activations are quantized in groups of 128 values of one token, each with a scale of its
own. So what is in a batch changes nothing in another text's answer, and one large activation costs only its group.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from sluice.engine.onnx.weight_graph import with_dequantized_weights

# Of 32 to 512 and whole rows the fastest for widths of 128 to 3,072; see the decision record.
_GROUP = 128


class OpenVinoRuntime:
    """A compiled model and its one request. `properties` are OpenVINO's, in place of ours or beside them."""

    name = "openvino"
    # It keeps kernels for every shape that it has met: 540 MiB after 400 batches of any length, 204 in steps of 8.
    length_step = 8

    def __init__(self, graph: Path, *, threads: int, **properties: object) -> None:
        core = _core()
        model = core.read_model(with_dequantized_weights(onnx.load(graph)).SerializeToString())
        native = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        usual = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            # Where a thread runs is the operating system's business: other programs have their cores here, too.
            "ENABLE_CPU_PINNING": False,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
            "INFERENCE_PRECISION_HINT": "bf16" if "BF16" in native else "f32",
        }
        compiled = core.compile_model(model, "CPU", usual | properties)
        self._request = compiled.create_infer_request()
        self.input_names = frozenset(one.get_any_name() for one in compiled.inputs)

    def run(self, feed: Mapping[str, NDArray[Any]], output: str) -> NDArray[Any]:
        """The output of that name for one batch."""
        self._request.infer(dict(feed), share_inputs=True)
        # The request's own memory is overwritten by the next batch.
        return np.array(self._request.get_tensor(output).data, dtype=np.float32)


@cache
def _core() -> Any:
    # One a process, for good. Each gives its thread a stack for signal handlers and takes it back when it goes, in
    # whatever order: after two of them, the next signal to that thread (Ctrl-C) finds no stack and kills the program.
    return _openvino().Core()


def _openvino() -> Any:
    # When it is imported, OpenVINO reports its use to its maker over the network, unless it lacks the package for it.
    sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))
    import openvino

    return openvino
