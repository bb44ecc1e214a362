"""A classifier as an ONNX graph in fp32, ready to be quantized, and the stamp of the checkpoint that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from sluice.compression.quiet import quiet
from sluice.engine.onnx_export import FINGERPRINT, INPUT_NAMES

OUTPUT = "logits"
# The first with integers of four bits.
_OPSET = 21
_SAMPLE_SHAPE = (2, 16)


class _Logits(nn.Module):
    """The model with two tensors in and one out, so that the exported graph has exactly these."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def export(model: Any, file: Path) -> None:
    """Write `model`, a transformers classifier with eager attention, as `file`; the same weights make the same bytes.

    Inputs `input_ids` and `attention_mask` are int64 of shape batch x tokens, both free; output `logits` is float32 of
    shape batch x labels. Constants are folded, and what the exporter notes about its source code is left out.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    places = torch.arange(_SAMPLE_SHAPE[0] * _SAMPLE_SHAPE[1]).reshape(_SAMPLE_SHAPE)
    ids = places % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, _SAMPLE_SHAPE[1] // 2 :] = 0
    batch = torch.export.Dim("batch", min=1, max=65536)
    tokens = torch.export.Dim("tokens", min=2, max=model.config.max_position_embeddings)
    shape = {0: batch, 1: tokens}
    with quiet():
        program = torch.onnx.export(
            _Logits(model),
            (ids, mask),
            input_names=list(INPUT_NAMES),
            output_names=[OUTPUT],
            dynamic_shapes=(shape, shape),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # noqa: S101 - with dynamo=True a program always comes back
        program.save(file, external_data=False)
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
