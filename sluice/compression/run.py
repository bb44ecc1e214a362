"""One compression from a model to a checkpoint that the CPU worker serves: prune, export, quantize, measure, write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sluice.compression import destination, quantization
from sluice.compression.calibration import TextReader
from sluice.compression.copying import copy_files, copy_modules
from sluice.compression.examples import Examples, read_examples
from sluice.compression.package import pack, write_empty_weights
from sluice.compression.pruning import prune, remove_heads
from sluice.compression.report import Report
from sluice.compression.settings import USUAL_BLOCK_SIZE, Settings
from sluice.compression.shipped import INT4, graph_name
from sluice.compression.source import TOKENIZER_FILES, Source, open_source
from sluice.compression.trial import Progress, Trial
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import QUALITY
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.checkpoint.model import OUTPUT_NAMES
from sluice.engine.checkpoint.task import CONFIG
from sluice.engine.checkpoint.weights import INDEX, WEIGHTS, fingerprint, stored_type, weight_files
from sluice.engine.onnx.export import export_graph, quantize_dynamic, quiet, stamp
from sluice.runtime.jsonl import read_texts

# The directory around a quantized graph: configuration, tokenizer and weights that transformers can load.


def write_checkpoint(source: Source, made: Path, *, changed: bool, with_weights: bool) -> None:
    """Write everything but the graph into `made`.

    Where the model was `changed`, its weights and the size of its feed-forward networks are written as they are now,
    in the type that they were stored in; otherwise configuration and weights are the source's, byte for byte. Without
    weights, an empty file stands in their place. An embedder's modules come along; its transformer lies in `made`
    itself, wherever it lay before.
    """
    origin = source.checkpoint.path
    copy_files(origin, made, (CONFIG, *TOKENIZER_FILES))
    if source.checkpoint.modules is not None:
        copy_modules(source.root, made)
    if changed:
        _write_sizes(source.model.config, made / CONFIG)
    if not with_weights:
        write_empty_weights(made)
    elif changed:
        stored = stored_type(origin)
        state = {name: _as(tensor, stored) for name, tensor in source.model.state_dict().items()}
        save_file(state, made / WEIGHTS, metadata={"format": "pt"})
        Path(made, WEIGHTS).chmod(0o644)
    else:
        copy_files(origin, made, (INDEX,))
        for file in weight_files(origin):
            shutil.copyfile(file, made / file.name)


def _write_sizes(config: Any, file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    for key in ("hidden_dim", "intermediate_size"):
        if hasattr(config, key):
            content[key] = getattr(config, key)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _as(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return tensor.detach().to(kind if tensor.is_floating_point() else tensor.dtype).contiguous()


# A model as an ONNX graph in fp32, ready to be quantized.


# The first with integers of four bits.
_OPSET = 21


def export(model: Any, file: Path, *, output_name: str) -> None:
    """Write `model`, a transformers encoder with eager attention, as `file`; the same weights make the same bytes.

    Inputs `input_ids` and `attention_mask` are int64 of shape batch x tokens, both free; the output is one of
    OUTPUT_NAMES. Constants are folded.
    """
    with quiet():
        export_graph(model, file, output_name=output_name, opset=_OPSET)


def compress(settings: Settings, progress: Progress) -> Report:
    """Do what `settings` say; the output appears whole, or not at all.

    Raises InvalidRequest, whose field is the setting at fault or `checkpoint`, when something cannot be done.
    """
    destination.check(settings.output, settings.source, packed=settings.packed, force=settings.force)
    texts = read_texts(settings.calibration, field="calibration") if settings.calibration else ()
    with destination.room(settings.output) as folder:
        progress("reading", 0, 1)
        source = open_source(settings.source, folder / "source", allow_pickle=settings.allow_pickle)
        examples = read_examples(settings.evaluate, source.checkpoint.labels) if settings.evaluate else None
        progress("reading", 1, 1)
        return _Compression(settings, progress, source, examples, folder / "made").run(texts)


class _Compression:
    """The steps, in order, on one opened model; `made` is the checkpoint directory that comes into being."""

    def __init__(
        self, settings: Settings, progress: Progress, source: Source, examples: Examples | None, made: Path
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._source = source
        self._examples = examples
        self._made = made
        self._graph = made / graph_name(settings.precision)

    def run(self, texts: Sequence[str]) -> Report:
        """Makes the checkpoint and puts it in its place; `texts` are those to calibrate with."""
        settings, model = self._settings, self._source.model
        trial = Trial(self._examples, self._progress)
        before = trial.measure_original(self._source)
        pruning = prune(model, settings.prune) if settings.prune else None
        self._graph.parent.mkdir(parents=True)
        write_checkpoint(self._source, self._made, changed=pruning is not None, with_weights=not settings.packed)
        if pruning:
            remove_heads(model, pruning.channels)
        plain = self._made.with_name("plain.onnx")
        self._export(plain)
        self._quantize(plain, texts)
        stamp(self._graph, fingerprint(self._made))
        report = Report(
            settings=settings,
            architecture=self._source.checkpoint.config.model_type,
            before=before,
            after=trial.measure_result(self._made, self._graph, precision=settings.precision),
            removed=pruning.removed if pruning else None,
            examples=len(self._examples.texts) if self._examples else 0,
            threads=torch.get_num_threads(),
        )
        self._place(report)
        return report

    def _export(self, plain: Path) -> None:
        self._progress("exporting", 0, 1)
        with self._told():
            export(self._source.model, plain, output_name=OUTPUT_NAMES[self._source.checkpoint.task])
        self._progress("exporting", 1, 1)

    def _quantize(self, plain: Path, texts: Sequence[str]) -> None:
        settings = self._settings
        reader = self._reader(texts) if texts else None
        self._progress("quantizing", 0, 1)
        with self._told():
            if settings.precision == INT4:
                block_size = settings.block_size or USUAL_BLOCK_SIZE
                quantization.quantize_blocks(plain, self._graph, symmetric=settings.symmetric, block_size=block_size)
            elif reader:
                quantization.quantize_static(
                    plain,
                    self._graph,
                    symmetric=settings.symmetric,
                    reader=reader,
                    percentile=settings.ranges == "percentile",
                )
            else:
                with quiet():
                    quantize_dynamic(plain, self._graph, symmetric=settings.symmetric)
        self._progress("quantizing", 1, 1)

    def _reader(self, texts: Sequence[str]) -> TextReader:
        reader = TextReader(
            self._source.checkpoint,
            texts,
            on_text=lambda done: self._progress("calibrating", done, len(reader)),
        )
        if not len(reader):
            problem = f"{self._settings.calibration} holds no text that the model can read"
            raise InvalidRequest(problem, field="calibration")
        self._progress("calibrating", 0, len(reader))
        return reader

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The libraries at work here fail in ways of their own; what they say belongs to the model."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            problem = f"{self._settings.source} cannot be quantized: {one_line(error)}"
            raise InvalidRequest(problem, field="input_model") from error

    def _place(self, report: Report) -> None:
        settings, after = self._settings, report.after
        self._progress("writing", 0, 1)
        if after.quality.measure:
            # What the source says of its quality is not true of this model, so that file was not copied.
            measured = {"metric": after.quality.measure, "quality": round(after.quality.value, 4)}
            quality = {"precision": after.precision, **measured}
            Path(self._made, QUALITY).write_text(json.dumps(quality, indent=2) + "\n", encoding="utf-8")
        made = self._made
        if settings.packed:
            made = made.with_name("made.pt")
            pack(self._made, made)
        destination.settle(made, settings.output)
        if self._examples is not None:
            report.write(report.place())
        self._progress("writing", 1, 1)
