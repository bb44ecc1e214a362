"""One text's tokens: they become its characters as soon as those are whole, and its end is where it should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sluice.domain.errors import WorkerFailed
from sluice.engine.checkpoint.errors import NAN_LOGITS
from sluice.engine.generation.sampler import NO_TOKEN
from sluice.engine.generation.sequence import OutputSequence
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationRequest
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
WORDS = tiny.tokenizer()
END = WORDS.sep_token_id
SPECIAL = WORDS.all_special_ids


def metaspace() -> PreTrainedTokenizerFast:
    """A tokenizer that writes a blank into the token before which it stands, as those of Llama do."""
    vocabulary = {"<unk>": 0, "▁a": 1, "▁new": 2, "s": 3, "▁": 4, "<0xF0>": 5, "<0x9F>": 6, "<0x8E>": 7, "<0x81>": 8}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))  # noqa: S106
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")  # noqa: S106


def opened(*stop: str, tokenizer: Any = WORDS) -> OutputSequence:
    prompt = GenerationRequest(text="", max_new_tokens=100, stop=stop)
    return OutputSequence(prompt, key=7, prompt_tokens=3, tokenizer=tokenizer, ends={END})


def tokens_of(text: str) -> list[int]:
    ids: list[int] = WORDS(text, add_special_tokens=False)["input_ids"]
    return ids


def written(text: OutputSequence, tokens: Sequence[int], *, step: int = 1) -> list[Chunk]:
    """The pieces of a text that is written `step` tokens at a time until it is over."""
    pieces: list[Chunk] = []
    for end in [*range(step, len(tokens), step), len(tokens)]:
        pieces.append(text.write(tokens[:end], is_done=end == len(tokens)))
        if pieces[-1].is_last:
            break
    return pieces


def joined(pieces: Sequence[Chunk]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("text", tiny.TEXTS)
@pytest.mark.parametrize("step", [1, 2, 5])
def test_pieces_join_to_the_text(text: str, step: int) -> None:
    pieces = written(opened(), tokens_of(text), step=step)
    assert joined(pieces) == text
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].finish is FinishReason.LENGTH
    assert pieces[-1].tokens == len(tokens_of(text))
    assert {(piece.key, piece.prompt_tokens) for piece in pieces} == {(7, 3)}
    assert "\ufffd" not in joined(pieces[:-1])


@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=40), st.integers(1, 4))
def test_any_tokens_become_what_the_tokenizer_makes_of_them(tokens: list[int], step: int) -> None:
    tokens = [token for token in tokens if token != END]
    pieces = written(opened(), tokens, step=step)
    assert joined(pieces) == WORDS.decode(tokens, skip_special_tokens=True)
    assert pieces[-1].tokens == len(tokens)


@given(st.lists(st.integers(1, 8), max_size=20))
def test_a_tokenizer_with_blanks_and_bytes_of_its_own(tokens: list[int]) -> None:
    kind = metaspace()
    assert joined(written(opened(tokenizer=kind), tokens)) == kind.decode(tokens, skip_special_tokens=True)


def test_a_character_of_several_tokens_comes_whole() -> None:
    tokens = tokens_of("🐙")
    assert len(tokens) > 1
    assert [piece.text for piece in written(opened(), tokens)] == [""] * (len(tokens) - 1) + ["🐙"]


def test_a_text_that_ends_in_the_middle_of_a_character_says_so() -> None:
    tokens = tokens_of("ok 🐙")[:-1]
    pieces = written(opened(), tokens)
    assert joined(pieces) == "ok \ufffd"
    assert pieces[-1].finish is FinishReason.LENGTH


def test_an_end_token_ends_it_and_is_not_shown() -> None:
    tokens = [*tokens_of("ok"), END]
    pieces = written(opened(), tokens)
    assert joined(pieces) == "ok"
    assert (pieces[-1].finish, pieces[-1].tokens) == (FinishReason.STOP, len(tokens))


def test_special_tokens_are_not_shown_and_count() -> None:
    tokens = [WORDS.cls_token_id, *tokens_of("o"), WORDS.pad_token_id, *tokens_of("k")]
    pieces = written(opened(), tokens)
    assert joined(pieces) == "ok"
    assert pieces[-1].tokens == len(tokens)


@pytest.mark.parametrize("step", [1, 3, 50])
def test_a_stop_string_across_tokens_ends_the_text_before_it(step: int) -> None:
    tokens = tokens_of("thank you so much, it arrived on Monday")
    pieces = written(opened("much, it arr", "never"), tokens, step=step)
    assert joined(pieces) == "thank you so "
    assert pieces[-1].finish is FinishReason.STOP
    assert [piece.is_last for piece in pieces].index(True) == len(pieces) - 1


def test_a_stop_string_that_is_not_completed_is_shown_in_the_end() -> None:
    pieces = written(opened("thank you so MUCH"), tokens_of("thank you so much"))
    assert joined(pieces) == "thank you so much"
    assert pieces[-1].finish is FinishReason.LENGTH
    cut = written(opened("much, it"), [*tokens_of("thank you so much"), END])
    assert joined(cut) == "thank you so much"
    assert cut[-1].finish is FinishReason.STOP


def test_a_stop_string_of_characters_that_come_in_bytes() -> None:
    pieces = written(opened("🐙"), tokens_of("emoji 🐙 and"))
    assert joined(pieces) == "emoji "
    assert pieces[-1].finish is FinishReason.STOP


def test_a_stop_string_of_what_stands_for_half_a_character() -> None:
    pieces = written(opened("\ufffd"), tokens_of("ok 🐙")[:-1])
    assert joined(pieces) == "ok "
    assert pieces[-1].finish is FinishReason.STOP


def test_a_token_that_is_no_number_fails_the_text_and_what_came_before_is_told() -> None:
    tokens = tokens_of("thank you")
    pieces = written(opened(), [*tokens, NO_TOKEN, 5, 6], step=50)
    assert joined(pieces) == "thank you"
    error = pieces[-1].error
    assert isinstance(error, WorkerFailed)
    assert error.message == NAN_LOGITS
    assert pieces[-1].tokens == len(tokens)


def test_nothing_written_is_a_text_without_characters() -> None:
    piece = opened().write([], is_done=True)
    assert (piece.text, piece.tokens, piece.finish) == ("", 0, FinishReason.LENGTH)
