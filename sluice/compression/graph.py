"""A classifier as an ONNX graph in fp32, ready to be quantized, and the stamp of the checkpoint that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from sluice.engine.onnx_export import FINGERPRINT, export_graph
from sluice.engine.quiet import quiet

OUTPUT = "logits"
# The first with integers of four bits.
_OPSET = 21


def export(model: Any, file: Path) -> None:
    """Write `model`, a transformers classifier with eager attention, as `file`; the same weights make the same bytes.

    Inputs `input_ids` and `attention_mask` are int64 of shape batch x tokens, both free; output `logits` is float32 of
    shape batch x labels. Constants are folded, and what the exporter notes about its source code is left out.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet():
        export_graph(model, file, output_name=OUTPUT, opset=_OPSET)
        quant_pre_process(file, file, skip_symbolic_shape=True)
    _strip(file)


def stamp(file: Path, fingerprint: str) -> None:
    """Name the checkpoint that the graph belongs to in its metadata, by its `fingerprint`."""
    graph = onnx.load(file)
    del graph.metadata_props[:]
    graph.metadata_props.add(key=FINGERPRINT, value=fingerprint)
    onnx.save(graph, file)


def _strip(file: Path) -> None:
    # Stack traces of the exporting machine take up to half of a small model's file.
    model = onnx.load(file)
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, file)
