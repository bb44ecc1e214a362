"""Export of an encoder's checkpoint to ONNX, with its weights quantized to int8.

The result runs in ONNX Runtime on any CPU: weights are int8 per output channel, activations are quantized on the fly.
Weights use seven bits (`reduce_range`), because CPUs without VNNI add u8 x s8 products in sixteen bits and overflow.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import checkpoint_error, one_line
from sluice.engine.checkpoint.model import OUTPUT_NAMES, load_model
from sluice.engine.checkpoint.weights import fingerprint

logger = logging.getLogger(__name__)


# An ONNX file of a checkpoint: what it gives, and the stamp that names the weights it was made from.


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
        raise checkpoint_error(checkpoint.path, name, f"is no ONNX file: {one_line(error)}") from error


def is_outgrown(graph: Any, fingerprint: str) -> bool:
    """Whether `graph` is stamped with another `fingerprint`. Graphs of other makers have no stamp and are believed."""
    stamps = {entry.key: entry.value for entry in graph.metadata_props}
    return bool(stamps.get(_STAMP, fingerprint) != fingerprint)


def check_output(checkpoint: Checkpoint, name: str, graph: Any) -> None:
    """Raise InvalidRequest, field `checkpoint`, unless file `name`, which holds `graph`, gives what the task needs."""
    output = OUTPUT_NAMES[checkpoint.task]
    width = _width(graph, output)
    if width is None:
        raise checkpoint_error(checkpoint.path, name, f"has no output '{output}'")
    wanted = len(checkpoint.labels) or checkpoint.config.get_text_config().hidden_size
    if width not in (0, wanted):
        what = "labels" if checkpoint.labels else "values for a token"
        raise checkpoint_error(checkpoint.path, name, f"gives {width} {what}, and config.json says {wanted}")


def _width(graph: Any, name: str) -> int | None:
    """The size of the last dimension of output `name`: 0 if the graph does not say, None if it has no such output."""
    for output in graph.graph.output:
        if output.name == name:
            dimensions = output.type.tensor_type.shape.dim
            return int(dimensions[-1].dim_value) if dimensions else 0
    return None


# Silence for what torch's and ONNX Runtime's exporters say on every run, whatever the model.


_TALKATIVE = ("torch.onnx", "onnxruntime.quantization.matmul_nbits_quantizer")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings, print-outs and log records below ERROR of the exporters; not for use by several threads.

    ONNX Runtime speaks through the root logger itself, whose filters do not see what other loggers pass up, and
    configures it when a module of its is first imported: a handler that does nothing keeps it from that.
    """
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    silent = logging.NullHandler()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        root.addHandler(silent)
        root.addFilter(_is_error)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            root.removeFilter(_is_error)
            root.removeHandler(silent)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


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


# A checkpoint's int8 graph: the one that it ships, or one that is made once from its weights and kept in a cache.
#
# A graph that Sluice made carries the fingerprint of the weights that it was made from, so that none outlives them.


SHIPPED = Path("onnx", "model_int8.onnx")
# Part of a kept graph's name; raise it when onnx_export makes other graphs of the same weights.
_FORMAT = 1


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
