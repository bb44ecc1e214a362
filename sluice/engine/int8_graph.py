"""A checkpoint's int8 graph: the one that it ships, or one that is made once from its weights and kept in a cache.

A graph that Sluice made carries the fingerprint of the weights that it was made from, so that none outlives them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import onnx

from sluice.engine.checkpoint import Checkpoint
from sluice.engine.fault import fault, one_line
from sluice.engine.model import OUTPUT_NAMES
from sluice.engine.onnx_export import FINGERPRINT, export_int8
from sluice.engine.weights import fingerprint
from sluice.errors import InvalidRequest, SluiceError

SHIPPED = Path("onnx", "model_int8.onnx")
# Part of a kept graph's name; raise it when onnx_export makes other graphs of the same weights.
_FORMAT = 1

logger = logging.getLogger(__name__)


def int8_graph(checkpoint: Checkpoint, cache: Path) -> Path:
    """The file of the int8 graph that belongs to the checkpoint's weights as they are now; `cache` keeps what is made.

    Raises InvalidRequest naming the shipped file when it is no graph of this checkpoint, field `precision` when the
    architecture cannot be exported, and field `cache` when the cache cannot be written.
    """
    current = fingerprint(checkpoint.path)
    shipped = checkpoint.path / SHIPPED
    if shipped.is_file() and _belongs(shipped, checkpoint, current):
        return shipped
    made = cache / f"{current[:32]}-{_FORMAT}" / SHIPPED.name
    if not made.is_file():
        logger.info("quantizing", extra={"checkpoint": str(checkpoint.path), "graph": str(made)})
        _make(checkpoint, made)
    return made


def _belongs(shipped: Path, checkpoint: Checkpoint, current: str) -> bool:
    name = SHIPPED.as_posix()
    try:
        model = onnx.load(shipped, load_external_data=False)
    except Exception as error:
        raise fault(checkpoint.path, name, f"is no ONNX file: {one_line(error)}") from error
    stamps = {entry.key: entry.value for entry in model.metadata_props}
    if stamps.get(FINGERPRINT, current) != current:
        # Somebody trained on and saved new weights beside it. Graphs of other makers have no stamp and are believed.
        logger.warning("the shipped graph is older than the weights and is not used", extra={"graph": str(shipped)})
        return False
    output = OUTPUT_NAMES[checkpoint.task]
    width = _width(model, output)
    if width is None:
        raise fault(checkpoint.path, name, f"has no output '{output}'")
    wanted = len(checkpoint.labels) or checkpoint.config.get_text_config().hidden_size
    if width not in (0, wanted):
        what = "labels" if checkpoint.labels else "values for a token"
        raise fault(checkpoint.path, name, f"gives {width} {what}, and config.json says {wanted}")
    return True


def _width(model: Any, name: str) -> int | None:
    """The size of the last dimension of output `name`: 0 if the graph does not say, None if it has no such output."""
    for output in model.graph.output:
        if output.name == name:
            dimensions = output.type.tensor_type.shape.dim
            return int(dimensions[-1].dim_value) if dimensions else 0
    return None


def _make(checkpoint: Checkpoint, made: Path) -> None:
    try:
        export_int8(checkpoint.path, made, task=checkpoint.task)
    except SluiceError:
        raise
    except OSError as error:
        problem = f"the int8 graph of {checkpoint.path.name} cannot be kept as {made}: {one_line(error)}"
        raise InvalidRequest(problem, field="cache") from error
    except Exception as error:
        problem = f"{checkpoint.path} cannot be exported to int8; serve it in fp32: {one_line(error)}"
        raise InvalidRequest(problem, field="precision") from error
