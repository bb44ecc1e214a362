"""What the model is given of a batch: little padding on a CPU, one batch on an accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, Pipeline
from sluice.engine.encoder.torch_backend import TorchBackend
from sluice.engine.onnx.backend import OnnxBackend
from sluice.worker.execution.backend import Classification, Item, ModelSpec, Output
from tests.unit.engine.tiny import LABELS, TOO_LONG

pytestmark = pytest.mark.torch
# A letter is a token here, and two more stand at the ends.
TEXTS = ["z" * 60, "zz", TOO_LONG, "z" * 58, "zzz", "z" * 30] * 4


class Model:
    """Answers a text by its first letter's id, and remembers what it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.attended = 0

    def __call__(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        self.shapes.append(tuple(inputs["input_ids"].shape))
        self.attended += int(inputs["attention_mask"].sum())
        lengths = inputs["attention_mask"].sum(1)
        return torch.nn.functional.one_hot(lengths % len(LABELS), len(LABELS)).float()


@pytest.fixture
def model() -> Model:
    return Model()


def run(checkpoint: Path, model: Model, overhead: int | None, *, step: int = 1) -> list[str | None]:
    pipeline = Pipeline(open_checkpoint(checkpoint), overhead=overhead, step=step)
    outputs = pipeline.run([Item(text) for text in TEXTS], model)
    assert [isinstance(output, InvalidRequest) for output in outputs] == [text == TOO_LONG for text in TEXTS]
    return [output.label if isinstance(output, Classification) else None for output in outputs]


def test_outputs_come_in_the_order_of_the_texts_however_the_batch_is_cut(
    tiny_checkpoints: dict[str, Path], model: Model
) -> None:
    expected = [None if text == TOO_LONG else LABELS[(len(text) + 2) % len(LABELS)] for text in TEXTS]
    assert run(tiny_checkpoints["distilbert"], model, CPU_OVERHEAD_TOKENS) == expected
    assert model.shapes == [(8, 5), (4, 32), (8, 62)]
    assert model.attended / sum(rows * tokens for rows, tokens in model.shapes) > 0.95


def test_lengths_are_multiples_of_a_step_as_far_as_the_model_goes(
    tiny_checkpoints: dict[str, Path], model: Model
) -> None:
    distilbert, roberta = tiny_checkpoints["distilbert"], tiny_checkpoints["roberta"]
    assert run(distilbert, model, CPU_OVERHEAD_TOKENS, step=24) == run(distilbert, Model(), CPU_OVERHEAD_TOKENS)
    assert model.shapes == [(8, 24), (4, 48), (8, 64)]
    model.shapes.clear()
    run(roberta, model, CPU_OVERHEAD_TOKENS, step=16)
    assert model.shapes == [(8, 16), (4, 32), (8, 63)]


def test_an_accelerator_is_given_one_batch(tiny_checkpoints: dict[str, Path], model: Model) -> None:
    run(tiny_checkpoints["distilbert"], model, None)
    assert model.shapes == [(20, 62)]


@pytest.mark.parametrize("overhead", [None, CPU_OVERHEAD_TOKENS])
def test_a_batch_of_nothing_but_mistakes_never_reaches_the_model(
    tiny_checkpoints: dict[str, Path], model: Model, overhead: int | None
) -> None:
    pipeline = Pipeline(open_checkpoint(tiny_checkpoints["distilbert"]), overhead=overhead)
    outputs = pipeline.run([Item(TOO_LONG)] * 2, model)
    assert [type(output) for output in outputs] == [InvalidRequest] * 2
    assert model.shapes == []


def test_what_was_prepared_is_run_without_reading_it_again(
    tiny_checkpoints: dict[str, Path], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(open_checkpoint(tiny_checkpoints["distilbert"]), overhead=CPU_OVERHEAD_TOKENS)
    items = [Item(text) for text in TEXTS]
    expected = pipeline.run(items, model)
    prepared = pipeline.prepare(items)
    assert [(item.text, item.top_k, item.truncate) for item in prepared] == [(text, 0, False) for text in TEXTS]
    monkeypatch.setattr(pipeline, "prepare", None)
    assert same(pipeline.run(prepared, model), expected)
    # Whoever was cancelled meanwhile is left out.
    assert same(pipeline.run(prepared[1::2], model), expected[1::2])


def same(outputs: Sequence[Output], expected: Sequence[Output]) -> bool:
    """Whether they are alike; errors are so by what they say."""
    return [getattr(one, "message", one) for one in outputs] == [getattr(one, "message", one) for one in expected]


def test_texts_that_are_cut_and_texts_that_are_not_can_be_prepared_by_several_threads(
    tiny_checkpoints: dict[str, Path],
) -> None:
    pipeline = Pipeline(open_checkpoint(tiny_checkpoints["distilbert"]), overhead=None)
    batches = [[Item(TEXTS[place], truncate=True) for place in (start, 2)] for start in range(6)]
    expected = [[item.tokens for item in pipeline.prepare(batch)] for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        prepared = list(threads.map(pipeline.prepare, batches * 40))
    assert [[item.tokens for item in batch] for batch in prepared] == expected * 40


@pytest.mark.parametrize(("threads", "expected"), [(0, 3), (2, 2)])
def test_backends_use_the_granted_cores_unless_they_are_told_how_many(
    tiny_checkpoints: dict[str, Path], int8_cache: Path, monkeypatch: pytest.MonkeyPatch, threads: int, expected: int
) -> None:
    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    for module in ("encoder.torch_backend", "onnx.backend"):
        monkeypatch.setattr(f"sluice.engine.{module}.granted_cores", lambda: 3)
    checkpoint = open_checkpoint(tiny_checkpoints["distilbert"])
    spec = ModelSpec(model="mine", tier=Tier.LIGHT, checkpoint=checkpoint.path, threads=threads)
    TorchBackend(spec, checkpoint, device=torch.device("cpu"), precision="fp32").close()
    assert told == [expected]
    backend = OnnxBackend(spec, checkpoint, cache=int8_cache)
    assert backend.threads == expected
