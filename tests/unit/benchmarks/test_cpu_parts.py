"""What the CPU benchmark is made of: texts of the lengths that were asked for, honest rates, and its switch."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

import torch

from benchmarks.cpu.__main__ import ROWS, rows_of
from benchmarks.cpu.padding_worker import never_cut
from benchmarks.cpu.quality import points_lost
from benchmarks.cpu.scale import FULL, QUICK
from benchmarks.cpu.shapes import make_checkpoint
from benchmarks.cpu.size import fp32_bytes, weights_bytes
from benchmarks.cpu.speed import rate
from benchmarks.cpu.texts import texts_of
from benchmarks.cpu.writing import Ours, Plain
from benchmarks.length_mix import LONGEST, SHORTEST, lengths
from sluice.engine.checkpoint.checkpoint import Checkpoint, open_checkpoint
from sluice.engine.encoder.pipeline import CPU_OVERHEAD_TOKENS, Pipeline
from sluice.worker.execution.backend import Item

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick run's DistilBERT."""
    return make_checkpoint(QUICK.distilbert, tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def checkpoint(directory: Path) -> Checkpoint:
    return open_checkpoint(directory)


def test_a_text_has_as_many_tokens_as_were_asked_for(checkpoint: Checkpoint) -> None:
    wanted = [3, 8, 32, 64, 255, 256]
    texts = texts_of(wanted, random.Random(1))
    assert [len(ids) for ids in checkpoint.tokenizer(texts)["input_ids"]] == wanted


def test_mixed_lengths_stay_within_their_bounds_and_are_mixed() -> None:
    drawn = lengths(random.Random(1), 2000)
    assert (min(drawn), max(drawn)) == (SHORTEST, LONGEST)
    assert 40 <= sorted(drawn)[1000] <= 50
    assert lengths(random.Random(1), 50) == drawn[:50]


def test_a_shape_is_made_once_and_its_weights_are_always_the_same(directory: Path, tmp_path: Path) -> None:
    weights = "model.safetensors"
    made_at = (directory / weights).stat().st_mtime_ns
    assert make_checkpoint(QUICK.distilbert, directory.parent) == directory
    assert (directory / weights).stat().st_mtime_ns == made_at
    again = make_checkpoint(QUICK.distilbert, tmp_path)
    assert (again / weights).read_bytes() == (directory / weights).read_bytes()


def test_full_shapes_are_the_default_ones() -> None:
    assert (FULL.distilbert.sizes, FULL.mobilebert.sizes) == ({}, {})


@pytest.mark.parametrize(("seconds", "runs"), [(0.0, 1), (2.0, 1), (4.0, 2), (5.0, 3)])
def test_a_rate_counts_whole_runs_and_one_at_least(seconds: float, runs: int) -> None:
    ended_at = [0.0]

    def run() -> None:
        ended_at.append(ended_at[-1] + 2.0)

    assert rate(run, items=10, seconds=seconds, clock=lambda: ended_at[-1]) == 5.0
    assert len(ended_at) == 1 + runs


def test_points_lost_are_those_of_the_pairs_that_differ() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 86 + [False] * 4 + [True] * 2 + [False] * 8)
    points, error = points_lost(before, after)
    assert points == pytest.approx(2.0)
    # Four pairs lost and two won of a hundred: the variance of a pair is 0.06 - 0.02 ** 2.
    assert error == pytest.approx(100 * (0.0596 / 100) ** 0.5)
    assert points_lost(before, before) == (0.0, 0.0)


def test_only_weights_count_and_not_those_of_plain_transformers(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        weights_bytes(directory)
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_int8.onnx").write_bytes(b"x" * 100)
    assert weights_bytes(tmp_path) == 100


def test_fp32_is_four_bytes_a_weight_in_whatever_precision_it_is_stored(directory: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = directory / "model.safetensors"
    whole = sum(tensor.numel() for tensor in load_file(file).values()) * 4
    assert fp32_bytes(directory) == whole
    half = directory.parent / "half"
    half.mkdir()
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, half / file.name)
    assert fp32_bytes(half) == whole


def passes(checkpoint: Checkpoint, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The shapes of the forward passes that a batch takes on a CPU."""
    shapes: list[tuple[int, ...]] = []

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        shapes.append(tuple(inputs["input_ids"].shape))
        return torch.zeros(len(inputs["input_ids"]), len(checkpoint.labels))

    Pipeline(checkpoint, overhead=CPU_OVERHEAD_TOKENS).run([Item(text) for text in texts], forward)
    return shapes


def test_the_padding_worker_computes_whole_batches_while_it_is_told_to(checkpoint: Checkpoint) -> None:
    texts = texts_of([8, 200] * 8, random.Random(1))
    cut = passes(checkpoint, texts)
    assert len(cut) == 2
    with never_cut():
        assert passes(checkpoint, texts) == [(16, 200)]
    assert passes(checkpoint, texts) == cut


def test_rows_are_measured_in_their_own_order_and_unknown_ones_are_named() -> None:
    assert rows_of("size, speed") == ["speed", "size"]
    assert rows_of(",".join(ROWS)) == list(ROWS)
    with pytest.raises(argparse.ArgumentTypeError, match="sped: there are speed, "):
        rows_of("sped,size")


def test_what_is_compared_writes_the_same_replies() -> None:
    mails = ["where is my parcel?", "I want to send the red scarf of order 70-699A back.", "请帮我查一下订单 443185"]
    ours = Ours()
    try:
        assert ours.write(mails) == Plain().write(mails) > len(mails)
    finally:
        ours.close()
