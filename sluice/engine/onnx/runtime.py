"""What runs an int8 graph on this machine's CPU: OpenVINO where it was measured to be faster, ONNX Runtime anywhere.

The measurements behind the choice are in docs/decisions/0007-the-cpu-engine.md.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.onnx.weight_graph import with_dequantized_weights
from sluice.worker.execution.backend import CpuRuntime

logger = logging.getLogger(__name__)


# A graph in ONNX Runtime on the CPU.


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


# A graph in OpenVINO on the CPU.
#
# int8 weights stay int8, and activations are quantized in groups of 128 values of one token, each with a scale of its
# own. So what is in a batch changes nothing in another text's answer, and one large activation costs only its group.


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


class Runtime(Protocol):
    """A graph that is ready to run. Used from one thread at a time."""

    @property
    def name(self) -> str:
        """The library's name."""

    @property
    def length_step(self) -> int:
        """What padded lengths should be multiples of. A runtime that keeps something for every shape wants few."""

    @property
    def input_names(self) -> frozenset[str]:
        """The inputs that the graph asks for."""

    def run(self, feed: Mapping[str, NDArray[Any]], output: str) -> NDArray[Any]:
        """The output of that name, a new array, for one batch."""


def open_runtime(graph: Path, *, threads: int, engine: CpuRuntime = CpuRuntime.AUTO) -> Runtime:
    """Make the ONNX file `graph` ready on `threads` threads.

    AUTO falls back to ONNX Runtime when OpenVINO is not installed or does not know an operator of the graph.
    Raises InvalidRequest, field `checkpoint` when nobody can run the file, and field `engine` when the engine that is
    asked for by name cannot.
    """
    wanted = _preferred() if engine is CpuRuntime.AUTO else engine
    if wanted is CpuRuntime.OPENVINO:
        try:
            from sluice.engine.onnx.runtime import OpenVinoRuntime

            return OpenVinoRuntime(graph, threads=threads)
        except Exception as error:
            if engine is CpuRuntime.OPENVINO:
                raise InvalidRequest(f"openvino cannot run {graph}: {one_line(error)}", field="engine") from error
            logger.info("onnxruntime in place of openvino", extra={"graph": str(graph), "why": one_line(error)})
    try:
        from sluice.engine.onnx.runtime import OnnxRuntime

        return OnnxRuntime(graph, threads=threads)
    except Exception as error:
        raise InvalidRequest(f"{graph} is no model that can be run: {one_line(error)}", field="checkpoint") from error


def _preferred() -> CpuRuntime:
    # OpenVINO was measured on x86 only.
    measured = platform.machine().lower() in {"x86_64", "amd64"}
    return CpuRuntime.OPENVINO if measured and find_spec("openvino") else CpuRuntime.ONNX_RUNTIME
