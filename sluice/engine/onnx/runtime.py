"""What runs an int8 graph on this machine's CPU: OpenVINO where it was measured to be faster, ONNX Runtime anywhere.

The measurements behind the choice are in docs/decisions/0007-the-cpu-engine.md.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line
from sluice.worker.execution.backend import Engine

logger = logging.getLogger(__name__)


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


def open_runtime(graph: Path, *, threads: int, engine: Engine = Engine.AUTO) -> Runtime:
    """Make the ONNX file `graph` ready on `threads` threads.

    AUTO falls back to ONNX Runtime when OpenVINO is not installed or does not know an operator of the graph.
    Raises InvalidRequest, field `checkpoint` when nobody can run the file, and field `engine` when the engine that is
    asked for by name cannot.
    """
    wanted = _preferred() if engine is Engine.AUTO else engine
    if wanted is Engine.OPENVINO:
        try:
            from sluice.engine.openvino_runtime import OpenVinoRuntime

            return OpenVinoRuntime(graph, threads=threads)
        except Exception as error:
            if engine is Engine.OPENVINO:
                raise InvalidRequest(f"openvino cannot run {graph}: {one_line(error)}", field="engine") from error
            logger.info("onnxruntime in place of openvino", extra={"graph": str(graph), "why": one_line(error)})
    try:
        from sluice.engine.onnx_runtime import OnnxRuntime

        return OnnxRuntime(graph, threads=threads)
    except Exception as error:
        raise InvalidRequest(f"{graph} is no model that can be run: {one_line(error)}", field="checkpoint") from error


def _preferred() -> Engine:
    # OpenVINO was measured on x86 only.
    measured = platform.machine().lower() in {"x86_64", "amd64"}
    return Engine.OPENVINO if measured and find_spec("openvino") else Engine.ONNX_RUNTIME
