"""The quantized graphs that a checkpoint brings along."""

from __future__ import annotations

from pathlib import Path

from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import checkpoint_error
from sluice.engine.onnx.export import check_output, is_outgrown, read_graph

INT4 = "int4"
_FOLDER = "onnx"
_PRECISIONS = ("int8", INT4)


def shipped_precisions(directory: Path) -> tuple[str, ...]:
    """Those of int8 and int4, in this order, of which a checkpoint directory holds a graph."""
    return tuple(one for one in _PRECISIONS if (directory / graph_name(one)).is_file())


def graph_name(precision: str) -> Path:
    """Where in a checkpoint directory its graph of `precision` lies."""
    return Path(_FOLDER, f"model_{precision}.onnx")


def int4_graph(checkpoint: Checkpoint) -> Path:
    """The checkpoint's graph in 4 bits, which is never made on the way: what it costs should be measured first.

    Raises InvalidRequest, field `checkpoint`, naming the file when it is missing, damaged, or of other weights.
    """
    name = graph_name(INT4).as_posix()
    file = checkpoint.path / name
    if not file.is_file():
        raise checkpoint_error(checkpoint.path, name, "is missing; tools/quantize.py --bits 4 makes it")
    graph = read_graph(checkpoint, name)
    if is_outgrown(graph, checkpoint.fingerprint):
        raise checkpoint_error(checkpoint.path, name, "is older than the weights; make it anew with tools/quantize.py")
    check_output(checkpoint, name, graph)
    return file
