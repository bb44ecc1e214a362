"""Events and what they come to: however a server cuts a text, the same is heard of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.errors import NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.engine.openai.http_client import CompletionChunk, read_completion_chunk
from sluice.engine.openai.streams import ActiveStream
from sluice.worker.execution.generator import Chunk, FinishReason
from tests.unit.openai.writing import prompt


@pytest.mark.parametrize(
    ("data", "chunk"),
    [
        ('{"choices": [{"text": "a", "finish_reason": null}]}', CompletionChunk(text="a")),
        (
            '{"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}',
            CompletionChunk(text="a", finish="stop"),
        ),
        ('{"choices": [{"delta": {"role": "assistant"}}], "usage": null}', CompletionChunk()),
        ('{"choices": [{"delta": {"reasoning_content": "hm"}}]}', CompletionChunk()),
        (
            '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}',
            CompletionChunk(tokens=2, prompt_tokens=3),
        ),
    ],
)
def test_events_of_both_interfaces_are_read(data: str, chunk: CompletionChunk) -> None:
    assert read_completion_chunk(data) == chunk


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("", WorkerFailed),
        ("[]", WorkerFailed),
        ('{"choices": [{"text": "\\ud83d"}]}', WorkerFailed),
        ('{"usage": {"completion_tokens": -1}}', WorkerFailed),
        ('{"error": "it broke"}', WorkerFailed),
        ('{"error": {"message": "it broke", "code": 500}}', WorkerFailed),
        ('{"error": {"message": "full", "code": 429}}', Saturated),
        ('{"error": {"message": "abort", "code": 503}}', NoEndpoint),
    ],
)
def test_an_event_may_be_an_error(data: str, error: type[SluiceError]) -> None:
    with pytest.raises(error):
        read_completion_chunk(data)


def heard(text: ActiveStream, chunks: list[CompletionChunk]) -> list[Chunk]:
    pieces = []
    for chunk in chunks:
        piece = text.take(chunk)
        if piece is not None:
            pieces.append(piece)
            if piece.is_last:
                return pieces
    return [*pieces, text.end()]


@given(
    st.lists(st.text("ab\u00e9", max_size=5), max_size=8),
    st.lists(st.text("ab\u00e9", min_size=1, max_size=3), max_size=3),
)
def test_what_is_heard_is_the_text_before_its_stop_string(parts: list[str], stop: list[str]) -> None:
    whole = "".join(parts)
    chunks = [*(CompletionChunk(text=part) for part in parts), CompletionChunk(finish="length")]
    pieces = heard(ActiveStream(1, prompt(stop=tuple(stop))), chunks)
    stopped = any(string in whole for string in stop)
    said = "".join(piece.text for piece in pieces)
    assert whole.startswith(said)
    assert not any(string in said for string in stop)
    assert (said == whole) is not stopped
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].finish is (FinishReason.STOP if stopped else FinishReason.LENGTH)
    assert [piece.tokens for piece in pieces] == sorted(piece.tokens for piece in pieces)


def test_the_first_event_is_heard_even_without_text() -> None:
    text = ActiveStream(1, prompt())
    assert text.take(CompletionChunk()) == Chunk(key=1)
    assert text.take(CompletionChunk()) is None


def test_what_the_server_counts_holds_and_never_falls() -> None:
    text = ActiveStream(1, prompt())
    counts = [(1, 4), (None, None), (3, None), (2, 4)]
    pieces = [text.take(CompletionChunk(text="a", tokens=tokens, prompt_tokens=before)) for tokens, before in counts]
    assert [piece.tokens for piece in pieces if piece is not None] == [1, 1, 3, 3]
    assert text.is_counted
    assert text.fail(NoEndpoint("")).prompt_tokens == 4


@pytest.mark.parametrize("word", ["abort", "error"])
def test_a_text_that_the_server_gave_up_is_not_whole(word: str) -> None:
    text = ActiveStream(1, prompt())
    with pytest.raises(NoEndpoint):
        text.take(CompletionChunk(finish=word))
    assert not text.is_whole


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.STOP),
        ("eos_token", FinishReason.STOP),
    ],
)
def test_why_a_text_ends(word: str, finish: FinishReason) -> None:
    text = ActiveStream(1, prompt())
    text.take(CompletionChunk(text="a", finish=word))
    assert text.end().finish is finish
