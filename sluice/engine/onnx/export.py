"""Export of an encoder's checkpoint to ONNX, with its weights quantized to int8.

The result runs in ONNX Runtime on any CPU: weights are int8 per output channel, activations are quantized on the fly.
Weights use seven bits (`reduce_range`), because CPUs without VNNI add u8 x s8 products in sixteen bits and overflow.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.model import OUTPUT_NAMES, load_model
from sluice.engine.checkpoint.weights import fingerprint
from sluice.engine.graph_file import stamp
from sluice.engine.quiet import quiet

INPUT_NAMES = ("input_ids", "attention_mask")
ENCODER_TYPES = frozenset({"bert", "camembert", "distilbert", "mobilebert", "roberta", "xlm-roberta"})
_OPSET = 18
_SAMPLE_SHAPE = (2, 16)


class NotExportable(InvalidRequest):
    """The checkpoint is no encoder that this module knows how to export; serve it through torch instead."""


class _TwoInputs(nn.Module):
    """The model with two tensors in and one out, so that the exported graph has exactly these."""

    def __init__(self, model: Any, output_name: str) -> None:
        super().__init__()
        self.model = model
        self.output_name = output_name

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        output: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask)[self.output_name]
        return output


def export_int8(checkpoint: Path, destination: Path, *, task: Task = Task.TEXT_CLASSIFICATION) -> Path:
    """Writes the int8 ONNX file of a checkpoint of `task` and returns `destination`.

    Inputs `input_ids` and `attention_mask` are int64 of shape batch x tokens, both free; the output is float32:
    `logits` of shape batch x labels, or `last_hidden_state` of shape batch x tokens x width. The file appears whole or
    not at all: it is written beside its place and renamed.
    Raises NotExportable for an architecture that is not among ENCODER_TYPES, InvalidRequest naming the file when the
    checkpoint is broken, and OSError when the destination's directory cannot be written.
    """
    source = fingerprint(checkpoint)
    model = _load(checkpoint, task)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".export-") as folder:
        plain = Path(folder, "model.onnx")
        quantized = Path(folder, "model_int8.onnx")
        with quiet():
            export_graph(model, plain, output_name=OUTPUT_NAMES[task])
            quantize_dynamic(plain, quantized)
            stamp(quantized, source)
        quantized.replace(destination)
    return destination


def _load(checkpoint: Path, task: Task) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    if config.model_type not in ENCODER_TYPES:
        problem = f"{checkpoint} is of type {config.model_type}; int8 export knows {', '.join(sorted(ENCODER_TYPES))}"
        raise NotExportable(f"{problem}; serve it in fp32", field="precision")
    return load_model(checkpoint, dtype=torch.float32, task=task, attn_implementation="eager")


def export_graph(model: Any, file: Path, *, output_name: str, opset: int = _OPSET) -> None:
    """Write `model`, a transformers model with eager attention, as the fp32 graph `file`; inputs and output as above.

    Constants are folded; the same weights make the same bytes. Call it inside `quiet()`: the exporter is talkative.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxscript import ir

    places = torch.arange(_SAMPLE_SHAPE[0] * _SAMPLE_SHAPE[1]).reshape(_SAMPLE_SHAPE)
    ids = places % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, _SAMPLE_SHAPE[1] // 2 :] = 0
    batch = torch.export.Dim("batch", min=1, max=65536)
    tokens = torch.export.Dim("tokens", min=2, max=model.config.max_position_embeddings)
    shape = {0: batch, 1: tokens}
    program = torch.onnx.export(
        _TwoInputs(model, output_name),
        (ids, mask),
        input_names=list(INPUT_NAMES),
        output_names=[output_name],
        dynamic_shapes=(shape, shape),
        opset_version=opset,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # noqa: S101 - with dynamo=True a program always comes back
    # Stack traces of the exporting machine take up to half of a small model's file.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    program.save(file, external_data=False)
    quant_pre_process(file, file, skip_symbolic_shape=True)


def quantize_dynamic(plain: Path, quantized: Path, *, symmetric: bool = True) -> None:
    """Write the graph `plain` in 8 bits as `quantized`; activations get their range from each batch.

    Call it inside `quiet()`.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    quantize(
        plain,
        quantized,
        weight_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        per_channel=True,
        reduce_range=symmetric,
        extra_options={"WeightSymmetric": symmetric},
    )
