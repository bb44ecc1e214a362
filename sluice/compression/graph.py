"""A model as an ONNX graph in fp32, ready to be quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.engine.onnx.export import export_graph, quiet

# The first with integers of four bits.
_OPSET = 21


def export(model: Any, file: Path, *, output_name: str) -> None:
    """Write `model`, a transformers encoder with eager attention, as `file`; the same weights make the same bytes.

    Inputs `input_ids` and `attention_mask` are int64 of shape batch x tokens, both free; the output is one of
    OUTPUT_NAMES. Constants are folded.
    """
    with quiet():
        export_graph(model, file, output_name=output_name, opset=_OPSET)
