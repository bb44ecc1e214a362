"""The quantized graphs that a checkpoint brings along."""

from __future__ import annotations

from pathlib import Path

import onnx

from sluice.compression.graph import OUTPUT
from sluice.engine.checkpoint import Checkpoint
from sluice.engine.fault import fault, one_line
from sluice.engine.onnx_export import FINGERPRINT
from sluice.engine.weights import fingerprint

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
        raise fault(checkpoint.path, name, "is missing; tools/quantize.py --bits 4 makes it")
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:
        raise fault(checkpoint.path, name, f"is no ONNX file: {one_line(error)}") from error
    stamps = {entry.key: entry.value for entry in model.metadata_props}
    current = fingerprint(checkpoint.path)
    if stamps.get(FINGERPRINT, current) != current:
        raise fault(checkpoint.path, name, "is older than the weights; make it anew with tools/quantize.py")
    if OUTPUT not in {output.name for output in model.graph.output}:
        raise fault(checkpoint.path, name, f"has no output '{OUTPUT}'")
    return file
