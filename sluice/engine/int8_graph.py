"""A checkpoint's int8 graph: the one that it ships, or one that is made once from its weights and kept in a cache.

A graph that Sluice made carries the fingerprint of the weights that it was made from, so that none outlives them.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.graph_file import check_output, is_outgrown, read_graph
from sluice.engine.onnx.export import export_int8

SHIPPED = Path("onnx", "model_int8.onnx")
# Part of a kept graph's name; raise it when onnx_export makes other graphs of the same weights.
_FORMAT = 1

logger = logging.getLogger(__name__)


def int8_graph(checkpoint: Checkpoint, cache: Path) -> Path:
    """The file of the int8 graph that belongs to the checkpoint's weights as they are now; `cache` keeps what is made.

    Raises InvalidRequest naming the shipped file when it is no graph of this checkpoint, field `precision` when the
    architecture cannot be exported, and field `cache` when the cache cannot be written.
    """
    current = checkpoint.fingerprint
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
    graph = read_graph(checkpoint, name)
    if is_outgrown(graph, current):
        # Somebody trained on and saved new weights beside it.
        logger.warning("the shipped graph is older than the weights and is not used", extra={"graph": str(shipped)})
        return False
    check_output(checkpoint, name, graph)
    return True


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
