"""Feature extraction against plain transformers in fp32, for every architecture and every way of pooling."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest, WorkerFailed
from sluice.engine.checkpoint.sentence_transformers import SentenceModules
from sluice.engine.encoder.heads import EmbeddingHead
from sluice.worker.execution.backend import Backend, Embedding, Item
from tests.unit.engine.loading import full, light, quantized, vectors
from tests.unit.engine.plain import POOLINGS, embeddings
from tests.unit.engine.sentences import add_dense, add_modules, add_pooling, dump
from tests.unit.engine.tiny import ARCHITECTURES, DECODERS, LONGEST, TEXTS, TOO_LONG, write_base

pytestmark = pytest.mark.torch
WIDTH = 32


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random model without a head of each architecture."""
    home = tmp_path_factory.mktemp("bases")
    return {name: write_base(home / name, name) for name in ARCHITECTURES}


@pytest.fixture
def mine(bases: dict[str, Path], tmp_path: Path) -> Path:
    """A DistilBERT without a head, to which the test may add."""
    return shutil.copytree(bases["distilbert"], tmp_path / "mine")


@pytest.fixture(params=["torch", "onnx"])
def backend(request: pytest.FixtureRequest, bases: dict[str, Path], int8_cache: Path) -> Backend:
    checkpoint = bases["distilbert"]
    return light(checkpoint) if request.param == "torch" else quantized(checkpoint, int8_cache)


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (rows * others).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(others, axis=1)


@pytest.mark.parametrize("load", [light, full], ids=["cpu_worker", "gpu_worker"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_a_word_on_pooling_encoders_take_the_mean_and_decoders_the_last_token(
    bases: dict[str, Path], architecture: str, load: type
) -> None:
    backend = load(bases[architecture])
    assert (backend.variant.task, backend.variant.labels) == (Task.FEATURE_EXTRACTION, ())
    mode = "lasttoken" if architecture in DECODERS else "mean"
    expected = embeddings(bases[architecture], TEXTS, mode)
    assert vectors(backend, TEXTS) == pytest.approx(expected, abs=1e-4)
    # Vectors that hardly differ between texts would agree whatever went wrong.
    assert all(np.abs(one - other).max() > 0.02 for one, other in pairwise(expected))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neither_company_nor_order_changes_a_vector(bases: dict[str, Path], architecture: str) -> None:
    backend = light(bases[architecture])
    together = vectors(backend, TEXTS)
    assert together == pytest.approx(np.concatenate([vectors(backend, [text]) for text in TEXTS]), abs=1e-5)
    assert together == pytest.approx(vectors(backend, TEXTS[::-1])[::-1], abs=1e-5)


@pytest.mark.parametrize("mode", POOLINGS)
def test_pooling_is_what_the_checkpoint_says(mine: Path, mode: str) -> None:
    add_pooling(add_modules(mine), mode, word_embedding_dimension=WIDTH)
    assert vectors(light(mine), TEXTS) == pytest.approx(embeddings(mine, TEXTS, mode), abs=1e-4)


def test_several_poolings_are_concatenated_in_the_librarys_order(mine: Path) -> None:
    add_pooling(add_modules(mine), "lasttoken", "mean", "cls")
    assert vectors(light(mine), TEXTS) == pytest.approx(embeddings(mine, TEXTS, "cls", "mean", "lasttoken"), abs=1e-4)


def test_a_pooling_is_named_by_one_word_too(mine: Path) -> None:
    dump(add_modules(mine, modern=True) / "1_Pooling" / "config.json", {"pooling_mode": "max"})
    assert vectors(light(mine), TEXTS) == pytest.approx(embeddings(mine, TEXTS, "max"), abs=1e-4)


def test_the_mean_is_wanted_where_it_is_not_written(mine: Path) -> None:
    dump(add_modules(mine) / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    assert vectors(light(mine), TEXTS) == pytest.approx(embeddings(mine, TEXTS, "cls", "mean"), abs=1e-4)


def test_dense_and_normalize_follow_in_the_order_of_modules_json(mine: Path) -> None:
    add_pooling(add_modules(mine, "Dense", "Dense", "Normalize"), "mean", "max")
    generator = torch.Generator().manual_seed(1)
    first, bias = torch.randn(12, 2 * WIDTH, generator=generator), torch.randn(12, generator=generator)
    second = torch.randn(5, 12, generator=generator)
    add_dense(mine, "2_Dense", first, bias)
    add_dense(mine, "3_Dense", second, None, activation_function="torch.nn.modules.linear.Identity")
    hidden = np.tanh(embeddings(mine, TEXTS, "max", "mean") @ first.numpy().T + bias.numpy()) @ second.numpy().T
    expected = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    assert vectors(light(mine), TEXTS) == pytest.approx(expected, abs=1e-4)


def test_a_transformer_in_a_directory_of_its_own_is_found_there(bases: dict[str, Path], tmp_path: Path) -> None:
    home = tmp_path / "mine"
    shutil.copytree(bases["bert"], home / "0_Transformer")
    dump(home / "quality.json", {"quality": 0.5})
    add_pooling(add_modules(home, transformer="0_Transformer"), "cls")
    backend = light(home)
    assert backend.variant.quality == 0.5
    assert vectors(backend, TEXTS) == pytest.approx(embeddings(bases["bert"], TEXTS, "cls"), abs=1e-4)


def test_a_summary_layer_that_no_pooling_reads_may_be_missing(bases: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = shutil.copytree(bases["bert"], tmp_path / "mine")
    weights = load_file(checkpoint / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    assert len(kept) == len(weights) - 2
    save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert vectors(light(checkpoint), TEXTS) == pytest.approx(vectors(light(bases["bert"]), TEXTS), abs=1e-6)


def test_small_letters_are_made_where_the_checkpoint_says_so(mine: Path) -> None:
    add_pooling(add_modules(mine), "mean")
    dump(mine / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": True})
    backend = light(mine)
    assert (vectors(backend, ["WHERE is it"]) == vectors(backend, ["where is it"])).all()


def test_the_checkpoints_own_limit_bounds_a_text(mine: Path) -> None:
    add_pooling(add_modules(mine), "mean")
    dump(mine / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    backend = light(mine)
    assert backend.variant.max_tokens == 16
    fits, long, cut = backend.execute([Item("z" * 14), Item("z" * 15), Item("z" * 15, truncate=True)])
    assert isinstance(long, InvalidRequest)
    assert isinstance(fits, Embedding)
    assert isinstance(cut, Embedding)
    assert cut.values == pytest.approx(fits.values, abs=1e-5)


def test_a_text_longer_than_the_positions_fails_alone(backend: Backend) -> None:
    first, long, last = backend.execute([Item(TEXTS[0]), Item(TOO_LONG), Item(TEXTS[1])])
    assert isinstance(long, InvalidRequest)
    assert (long.field, f"tokens, and the model takes {LONGEST}; set truncate" in long.message) == ("text", True)
    assert isinstance(first, Embedding)
    assert isinstance(last, Embedding)


@pytest.mark.parametrize("architecture", ["bert", "mobilebert"])
def test_int8_vectors_point_where_those_of_fp32_do(bases: dict[str, Path], int8_cache: Path, architecture: str) -> None:
    checkpoint = bases[architecture]
    backend = quantized(checkpoint, int8_cache)
    assert (backend.variant.task, backend.variant.precision) == (Task.FEATURE_EXTRACTION, "int8")
    assert cosines(vectors(backend, TEXTS), embeddings(checkpoint, TEXTS, "mean")).min() > 0.99


@pytest.mark.parametrize("precision", ["bf16", "fp16", "mixed"])
def test_lower_precision_turns_a_vector_only_a_little(bases: dict[str, Path], precision: str) -> None:
    rows = vectors(full(bases["bert"], precision=precision), TEXTS)
    expected = embeddings(bases["bert"], TEXTS, "mean")
    assert cosines(rows, expected).min() > 0.999
    assert np.abs(rows - expected).max() > 0


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_vector_that_is_no_number_is_a_failure(number: float) -> None:
    hidden = torch.tensor([[[number, 1.0]], [[3.0, 4.0]]])
    head = EmbeddingHead(SentenceModules(transformer=Path("nowhere"), modes=("mean",)))
    failed, fine = head.outputs(hidden, torch.ones(2, 1), [Item("")] * 2)
    assert isinstance(failed, WorkerFailed)
    assert fine == Embedding((3.0, 4.0))


def test_padding_has_no_part_in_any_pooling_whatever_stands_there() -> None:
    alone, mask = torch.randn(1, 3, 4), torch.tensor([[1, 1, 1, 0, 0]])
    padded = torch.cat([alone, torch.full((1, 2, 4), float("nan"))], dim=1)
    head = EmbeddingHead(SentenceModules(transformer=Path("nowhere"), modes=tuple(POOLINGS)))
    (output,) = head.outputs(padded, mask, [Item("")])
    (expected,) = head.outputs(alone, mask[:, :3], [Item("")])
    assert isinstance(output, Embedding)
    assert isinstance(expected, Embedding)
    assert output.values == pytest.approx(expected.values, abs=1e-6)
