"""The int8 backend against plain transformers in fp32: the shipped model on the demo's texts, and users' encoders.

Activations are quantized by the range that a whole batch spans, so company may move a probability a little; what must
hold is that it moves no more than that.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest
from sluice.worker.execution.backend import Backend, Item
from tests.unit.engine.conftest import Demo
from tests.unit.engine.loading import quantized, table
from tests.unit.engine.plain import probabilities
from tests.unit.engine.tiny import ENCODERS, LONGEST, TEXTS

pytestmark = pytest.mark.torch
BATCH = 60


@pytest.fixture(scope="module")
def shipped(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    cache = tmp_path_factory.mktemp("cache")
    backend = quantized(models / "support-intent-quantized", cache)
    assert not list(cache.iterdir()), "the checkpoint ships its graph, so none is made"
    return backend


@pytest.fixture(scope="module")
def answers(shipped: Backend, demo: Demo) -> np.ndarray:
    starts = range(0, len(demo.texts), BATCH)
    return np.concatenate([table(shipped, demo.texts[start : start + BATCH]) for start in starts])


def test_the_shipped_model_says_in_int8_what_its_weights_say_in_fp32(
    shipped: Backend, answers: np.ndarray, models: Path, demo: Demo
) -> None:
    expected = np.array(probabilities(models / "support-intent-quantized", demo.texts))
    truth = np.array([shipped.variant.labels.index(label) for label in demo.labels])
    assert (answers.argmax(1) == expected.argmax(1)).mean() >= 0.97
    right, right_in_fp32 = (answers.argmax(1) == truth).mean(), (expected.argmax(1) == truth).mean()
    assert right >= right_in_fp32 - 0.02
    assert right >= 0.95


def test_batch_order_changes_nothing(shipped: Backend, answers: np.ndarray, demo: Demo) -> None:
    backwards = np.array(table(shipped, demo.texts[:BATCH][::-1]))[::-1]
    assert np.abs(backwards - answers[:BATCH]).max() < 1e-6


def test_company_and_padding_change_next_to_nothing(shipped: Backend, answers: np.ndarray, demo: Demo) -> None:
    alone = np.concatenate([table(shipped, [text]) for text in demo.texts[:BATCH]])
    assert (alone.argmax(1) == answers[:BATCH].argmax(1)).mean() >= 0.97
    assert np.abs(alone - answers[:BATCH]).mean() < 0.005


@pytest.mark.parametrize("architecture", ENCODERS)
def test_a_users_own_encoder_is_quantized_once_and_stays_close_to_fp32(
    tiny_checkpoints: dict[str, Path], int8_cache: Path, architecture: str
) -> None:
    checkpoint = tiny_checkpoints[architecture]
    backend = quantized(checkpoint, int8_cache)
    made = {file: file.stat().st_mtime_ns for file in int8_cache.rglob("*.onnx")}
    again = quantized(checkpoint, int8_cache)
    assert {file: file.stat().st_mtime_ns for file in int8_cache.rglob("*.onnx")} == made
    rows = np.array(table(backend, TEXTS))
    assert rows == pytest.approx(np.array(table(again, TEXTS)), abs=1e-6)
    assert np.abs(rows - np.array(probabilities(checkpoint, TEXTS))).max() < 0.06


@pytest.mark.parametrize("architecture", ENCODERS)
def test_an_exported_graph_takes_any_batch_and_any_length_up_to_the_limit(
    tiny_checkpoints: dict[str, Path], int8_cache: Path, architecture: str
) -> None:
    backend = quantized(tiny_checkpoints[architecture], int8_cache)
    longest = backend.variant.max_tokens
    assert longest == (LONGEST - 1 if architecture == "roberta" else LONGEST)
    for size, length in ((1, 1), (1, longest - 2), (17, 5), (3, longest - 2)):
        # A letter is a token here, and two more stand at the ends.
        assert len(table(backend, ["z" * length] * size)) == size
    assert len(table(backend, ["", "z" * (longest - 2)])) == 2


def test_the_variant_says_int8_on_the_cpu(shipped: Backend) -> None:
    variant = shipped.variant
    assert (variant.id, variant.tier, variant.precision, variant.device) == (
        "mine/quantized-int8",
        Tier.QUANTIZED,
        "int8",
        "cpu",
    )
    assert (len(variant.labels), variant.max_tokens, len(variant.quality_by_complexity)) == (15, 320, 8)


def test_another_precision_in_the_quantized_tier_is_served_by_torch(models: Path, tmp_path: Path) -> None:
    backend = quantized(models / "support-intent-quantized", tmp_path, precision="fp32")
    assert backend.variant.id == "mine/quantized-fp32"
    with pytest.raises(InvalidRequest, match="precision 'int3' is none of") as caught:
        quantized(models / "support-intent-quantized", tmp_path, precision="int3")
    assert caught.value.field == "precision"


def test_a_closed_backend_computes_nothing(tiny_checkpoints: dict[str, Path], int8_cache: Path) -> None:
    backend = quantized(tiny_checkpoints["distilbert"], int8_cache)
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.execute([Item("ok")])
