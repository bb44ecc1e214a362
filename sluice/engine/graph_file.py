"""An ONNX file of a checkpoint: what it gives, and the stamp that names the weights it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import fault, one_line
from sluice.engine.checkpoint.model import OUTPUT_NAMES

_STAMP = "sluice.fingerprint"


def stamp(file: Path, fingerprint: str) -> None:
    """Write into `file` that it belongs to the checkpoint with this `fingerprint`, whatever it said before."""
    model = onnx.load(file)
    kept = [entry for entry in model.metadata_props if entry.key != _STAMP]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=_STAMP, value=fingerprint)
    onnx.save(model, file)


def read_graph(checkpoint: Checkpoint, name: str) -> Any:
    """The graph in file `name` of the checkpoint. Raises InvalidRequest, field `checkpoint`, when it is none."""
    try:
        return onnx.load(checkpoint.path / name, load_external_data=False)
    except Exception as error:
        raise fault(checkpoint.path, name, f"is no ONNX file: {one_line(error)}") from error


def is_outgrown(graph: Any, fingerprint: str) -> bool:
    """Whether `graph` is stamped with another `fingerprint`. Graphs of other makers have no stamp and are believed."""
    stamps = {entry.key: entry.value for entry in graph.metadata_props}
    return bool(stamps.get(_STAMP, fingerprint) != fingerprint)


def check_output(checkpoint: Checkpoint, name: str, graph: Any) -> None:
    """Raise InvalidRequest, field `checkpoint`, unless file `name`, which holds `graph`, gives what the task needs."""
    output = OUTPUT_NAMES[checkpoint.task]
    width = _width(graph, output)
    if width is None:
        raise fault(checkpoint.path, name, f"has no output '{output}'")
    wanted = len(checkpoint.labels) or checkpoint.config.get_text_config().hidden_size
    if width not in (0, wanted):
        what = "labels" if checkpoint.labels else "values for a token"
        raise fault(checkpoint.path, name, f"gives {width} {what}, and config.json says {wanted}")


def _width(graph: Any, name: str) -> int | None:
    """The size of the last dimension of output `name`: 0 if the graph does not say, None if it has no such output."""
    for output in graph.graph.output:
        if output.name == name:
            dimensions = output.type.tensor_type.shape.dim
            return int(dimensions[-1].dim_value) if dimensions else 0
    return None
