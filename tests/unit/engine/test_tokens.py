"""Texts that need care, by both backends: too long ones, ones without a token, and what batches do to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.encoder.tokenize import encode, padded
from sluice.worker.execution.backend import Backend, Classification, Item
from tests.unit.engine.loading import light, quantized, table
from tests.unit.engine.tiny import LONGEST, TEXTS, TOO_LONG, edit, tokenizer, write

pytestmark = pytest.mark.torch


@pytest.fixture(params=["torch", "onnx"])
def backend(request: pytest.FixtureRequest, tiny_checkpoints: dict[str, Path], int8_cache: Path) -> Backend:
    checkpoint = tiny_checkpoints["distilbert"]
    return light(checkpoint) if request.param == "torch" else quantized(checkpoint, int8_cache)


def test_a_text_that_is_too_long_fails_alone(backend: Backend) -> None:
    first, long, last = backend.execute([Item(TEXTS[0]), Item(TOO_LONG), Item(TEXTS[1])])
    assert isinstance(long, InvalidRequest)
    assert (long.field, "tokens, and the model takes 64; set truncate" in long.message) == ("text", True)
    assert isinstance(first, Classification)
    assert isinstance(last, Classification)


def test_a_batch_of_nothing_but_too_long_texts_computes_nothing(backend: Backend) -> None:
    outputs = backend.execute([Item(TOO_LONG), Item(TOO_LONG + TOO_LONG)])
    assert [type(output) for output in outputs] == [InvalidRequest, InvalidRequest]


def test_a_text_that_may_be_cut_is_answered_by_its_beginning(backend: Backend) -> None:
    (cut,) = backend.execute([Item(TOO_LONG, truncate=True)])
    (longer,) = backend.execute([Item(TOO_LONG + " and more", truncate=True)])
    assert isinstance(cut, Classification)
    assert cut == longer


@pytest.mark.parametrize("extra", [0, 1], ids=["exactly", "one-more"])
def test_the_longest_text_is_as_long_as_the_variant_says(backend: Backend, extra: int) -> None:
    # A letter apart is a token of its own here, and two more stand at the ends.
    text = "z" * (LONGEST - 2 + extra)
    (output,) = backend.execute([Item(text)])
    assert isinstance(output, InvalidRequest if extra else Classification)


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", ".", "\x00", "🎁", "a\u0301"], ids=ascii)
def test_a_text_with_next_to_nothing_in_it_is_answered(backend: Backend, text: str) -> None:
    (alone,) = backend.execute([Item(text)])
    assert isinstance(alone, Classification)
    assert alone.label in backend.variant.labels
    assert 0.25 <= alone.score <= 1.0


@pytest.mark.parametrize("top_k", [0, 1, 3, 4, 99])
def test_as_many_runners_up_come_as_were_asked_for_best_first(backend: Backend, top_k: int) -> None:
    (output,) = backend.execute([Item(TEXTS[0], top_k=top_k)])
    assert isinstance(output, Classification)
    assert len(output.scores) == min(top_k, 4)
    assert [score for _, score in output.scores] == sorted((score for _, score in output.scores), reverse=True)
    if top_k:
        assert output.scores[0] == (output.label, output.score)


def without_ends(checkpoint: Path) -> Path:
    """Take the template away, so that an empty text has no token at all."""
    edit(checkpoint / "tokenizer.json", post_processor=None)
    return checkpoint


def test_a_text_without_any_token_is_the_callers_mistake_and_costs_the_others_nothing(tmp_path: Path) -> None:
    backend = light(without_ends(write(tmp_path / "bare", "bert")))
    rest, empty, other = backend.execute([Item(TEXTS[0], top_k=4), Item(""), Item(TEXTS[1], top_k=4)])
    assert isinstance(empty, InvalidRequest)
    assert (empty.field, empty.message) == ("text", "the text holds nothing that the model can read")
    assert isinstance(rest, Classification)
    assert isinstance(other, Classification)
    expected = table(backend, TEXTS[:2])
    assert rest.score == pytest.approx(max(expected[0]), abs=1e-5)
    assert other.score == pytest.approx(max(expected[1]), abs=1e-5)


def test_a_token_that_the_model_does_not_embed_never_reaches_it(tmp_path: Path) -> None:
    highest = len(tokenizer()) - 1
    backend = light(write(tmp_path / "small", "bert", vocab_size=highest))
    known, unknown = backend.execute([Item("ok"), Item(tokenizer().decode([highest]))])
    assert isinstance(known, Classification)
    assert isinstance(unknown, InvalidRequest)
    assert (unknown.field, unknown.message) == ("text", "the text holds a token that the model was not made for")


def test_padding_is_on_the_right_whatever_the_tokenizer_prefers(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "left", "bert")
    edit(checkpoint / "tokenizer_config.json", padding_side="left")
    opened = open_checkpoint(checkpoint)
    items = encode(opened, [Item("ok"), Item(TEXTS[2])])
    mask = padded(opened, items, length=items[1].length)["attention_mask"].tolist()
    assert mask[0][0] == 1
    assert mask[0][-1] == 0
    assert 0 not in mask[1]
