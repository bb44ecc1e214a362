"""One compression from a model to a checkpoint that the CPU worker serves: prune, export, quantize, measure, write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch

from sluice.compression import destination, quantization
from sluice.compression.calibration import TextReader, read_texts
from sluice.compression.checkpoint import write_checkpoint
from sluice.compression.examples import Examples, read_examples
from sluice.compression.graph import export, stamp
from sluice.compression.measurement import Measurement, evaluate
from sluice.compression.package import pack
from sluice.compression.pruning import prune, remove_heads
from sluice.compression.report import Report
from sluice.compression.settings import Settings
from sluice.compression.shipped import INT4, graph_name
from sluice.compression.source import Source, open_source
from sluice.engine.checkpoint import QUALITY
from sluice.engine.fault import one_line
from sluice.engine.weights import fingerprint
from sluice.errors import InvalidRequest
from sluice.training.evaluation import Predict, onnx_predictor, torch_predictor

_FP32_BYTES = 4


class Progress(Protocol):
    """Told of what is being done, and how much of it is: `done` of `total` steps."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called when a stage begins, with 0 done, and after each of its steps."""


def compress(settings: Settings, progress: Progress) -> Report:
    """Do what `settings` say; the output appears whole, or not at all.

    Raises InvalidRequest, whose field is the setting at fault or `checkpoint`, when something cannot be done.
    """
    destination.check(settings.output, settings.source, packed=settings.packed, force=settings.force)
    texts = read_texts(settings.calibration) if settings.calibration else ()
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
        # Texts are cut where the model ends, whatever its tokenizer says of itself.
        source.checkpoint.tokenizer.model_max_length = source.checkpoint.max_tokens

    def run(self, texts: Sequence[str]) -> Report:
        """Makes the checkpoint and puts it in its place; `texts` are those to calibrate with."""
        settings, model = self._settings, self._source.model
        before = self._before()
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
            after=self._after(),
            removed=pruning.removed if pruning else None,
            examples=len(self._examples.texts) if self._examples else 0,
            threads=torch.get_num_threads(),
        )
        self._place(report)
        return report

    def _export(self, plain: Path) -> None:
        self._progress("exporting", 0, 1)
        with self._told():
            export(self._source.model, plain)
        self._progress("exporting", 1, 1)

    def _quantize(self, plain: Path, texts: Sequence[str]) -> None:
        settings = self._settings
        self._progress("quantizing", 0, 1)
        with self._told():
            if settings.precision == INT4:
                quantization.quantize_blocks(
                    plain, self._graph, symmetric=settings.symmetric, block_size=settings.block_size
                )
            elif texts:
                quantization.quantize_static(
                    plain,
                    self._graph,
                    symmetric=settings.symmetric,
                    reader=self._reader(texts),
                    percentile=settings.ranges == "percentile",
                )
            else:
                quantization.quantize_dynamic(plain, self._graph, symmetric=settings.symmetric)
        self._progress("quantizing", 1, 1)

    def _reader(self, texts: Sequence[str]) -> TextReader:
        checkpoint = self._source.checkpoint
        self._progress("calibrating", 0, len(texts))
        return TextReader(
            texts,
            checkpoint.tokenizer,
            max_tokens=checkpoint.max_tokens,
            on_text=lambda done: self._progress("calibrating", done, len(texts)),
        )

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

    def _before(self) -> Measurement:
        model, tokenizer = self._source.model, self._source.checkpoint.tokenizer
        size = sum(parameter.numel() for parameter in model.parameters()) * _FP32_BYTES
        speed, accuracy = self._evaluate("measuring the original", torch_predictor(model, tokenizer))
        return Measurement(precision="fp32", runtime="PyTorch", size_bytes=size, items_per_s=speed, accuracy=accuracy)

    def _after(self) -> Measurement:
        predict = onnx_predictor(self._graph, self._source.checkpoint.tokenizer, threads=torch.get_num_threads())
        speed, accuracy = self._evaluate("measuring the result", predict)
        return Measurement(
            precision=self._settings.precision,
            runtime="ONNX Runtime",
            size_bytes=self._graph.stat().st_size,
            items_per_s=speed,
            accuracy=accuracy,
        )

    def _evaluate(self, stage: str, predict: Predict) -> tuple[float | None, float | None]:
        if self._examples is None:
            return None, None
        total = len(self._examples.texts)
        self._progress(stage, 0, total)
        return evaluate(predict, self._examples, on_text=lambda done: self._progress(stage, done, total))

    def _place(self, report: Report) -> None:
        settings, after = self._settings, report.after
        self._progress("writing", 0, 1)
        if after.accuracy is not None:
            # What the source says of its quality is not true of this model, so that file was not copied.
            quality = {"metric": "accuracy", "precision": after.precision, "quality": round(after.accuracy, 4)}
            Path(self._made, QUALITY).write_text(json.dumps(quality, indent=2) + "\n", encoding="utf-8")
        made = self._made
        if settings.packed:
            made = made.with_name("made.pt")
            pack(self._made, made)
        destination.settle(made, settings.output)
        if self._examples is not None:
            report.write(report.place())
        self._progress("writing", 1, 1)
