"""The generator without a model: what it writes, what bounds it, and that it forgets what nobody wants."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.enums import Tier
from sluice.domain.errors import Cancelled, InvalidRequest, NoEndpoint
from sluice.testing.echo import EchoGenerator
from sluice.testing.identity import with_identity
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.execution.generator import Chunk, FinishReason, GenerationEngine, GenerationRequest
from sluice.worker.models.registry import ECHO, checkpoint_under

SPEC = ModelSpec(model="m", tier=Tier.FULL, checkpoint=Path(ECHO))


class Reader:
    """Keeps what is written, by key."""

    def __init__(self, **options: Any) -> None:
        self.pieces: dict[int, list[Chunk]] = defaultdict(list)
        self.steps: list[list[int]] = []
        self.changed = threading.Condition()
        self.echo = EchoGenerator(SPEC, **options)
        self.echo.warm_up()
        self.echo.start(self.hear)

    def hear(self, pieces: Sequence[Chunk]) -> None:
        with self.changed:
            self.steps.append([piece.key for piece in pieces])
            for piece in pieces:
                self.pieces[piece.key].append(piece)
            self.changed.notify_all()

    def begin(self, key: int, text: str, **options: Any) -> None:
        self.echo.begin(key, GenerationRequest(text=text, **{"max_new_tokens": 100, **options}))

    def last(self, key: int) -> Chunk:
        """The last piece of a text, as soon as it has come."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.pieces[key] and self.pieces[key][-1].is_last, 10)
        return self.pieces[key][-1]

    def text(self, key: int) -> str:
        self.last(key)
        return "".join(piece.text for piece in self.pieces[key])

    def has_begun(self, key: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: bool(self.pieces[key]), 10)


@pytest.mark.parametrize(
    ("prompt", "options", "text", "tokens", "finish"),
    [
        ("where is my parcel", {}, "where is my parcel", 4, FinishReason.STOP),
        ("  where   is ", {}, "where is", 2, FinishReason.STOP),
        ("where is my parcel", {"max_new_tokens": 2}, "where is", 2, FinishReason.LENGTH),
        ("where is my parcel", {"max_new_tokens": 4}, "where is my parcel", 4, FinishReason.STOP),
        ("where is my parcel", {"stop": ("my",)}, "where is ", 3, FinishReason.STOP),
        ("where is my parcel", {"stop": ("el", "s m")}, "where i", 3, FinishReason.STOP),
        ("where is my parcel", {"stop": ("where",)}, "", 1, FinishReason.STOP),
        ("where is my parcel", {"stop": ("parcels",)}, "where is my parcel", 4, FinishReason.STOP),
        ("where is my parcel", {"stop": ("my",), "max_new_tokens": 2}, "where is", 2, FinishReason.LENGTH),
    ],
)
def test_it_writes_the_prompt_back(
    prompt: str, options: dict[str, Any], text: str, tokens: int, finish: FinishReason
) -> None:
    reader = Reader()
    reader.begin(1, prompt, **options)
    last = reader.last(1)
    assert (reader.text(1), last.tokens, last.finish) == (text, tokens, finish)
    assert last.prompt_tokens == len(prompt.split())
    # A first piece that says that there is memory, then one for each token.
    assert [piece.tokens for piece in reader.pieces[1]] == list(range(tokens + 1))
    reader.echo.close()


def test_texts_that_are_open_together_are_written_together() -> None:
    reader = Reader(step_s=0.002)
    for key in range(3):
        reader.begin(key, "a b c d e f g h")
    for key in range(3):
        assert reader.text(key) == "a b c d e f g h"
    assert [0, 1, 2] in reader.steps
    reader.echo.close()


def test_memory_bounds_what_is_written_at_a_time_and_the_rest_waits_its_turn() -> None:
    reader = Reader(step_s=0.002, memory_tokens=10)
    for key in range(4):
        reader.begin(key, "a b c", max_new_tokens=2)
    for key in range(4):
        assert reader.text(key) == "a b"
    assert max(map(len, reader.steps)) == 2
    assert reader.echo.held_tokens == reader.echo.open_texts == 0
    reader.echo.close()


def test_a_number_of_texts_bounds_it_as_well() -> None:
    reader = Reader(max_generations=1)
    for key in range(3):
        reader.begin(key, "a b")
    assert [reader.text(key) for key in range(3)] == ["a b"] * 3
    assert max(map(len, reader.steps)) == 1
    reader.echo.close()


@pytest.mark.parametrize(("prompt", "problem"), [("a b c d", "leaves no room"), (" ", "no words")])
def test_what_can_never_be_written_is_refused_and_holds_nothing(prompt: str, problem: str) -> None:
    reader = Reader(memory_tokens=4)
    reader.begin(1, prompt)
    reader.begin(2, "a b c", max_new_tokens=9)
    error = reader.last(1).error
    assert isinstance(error, InvalidRequest)
    assert problem in error.message
    assert error.field == "prompt"
    assert (reader.text(2), reader.last(2).finish) == ("a", FinishReason.LENGTH)
    reader.echo.close()


def test_a_cancelled_text_frees_its_memory_for_the_next_wherever_it_was() -> None:
    reader = Reader(step_s=0.002, memory_tokens=2_000)
    endless = " ".join("a" * 1_000)
    for key in range(3):
        reader.begin(key, endless, max_new_tokens=1_000)
    reader.has_begun(0)
    reader.echo.cancel(1)
    reader.echo.cancel(0)
    reader.echo.cancel(99)
    reader.has_begun(2)
    for key in range(2):
        assert isinstance(reader.last(key).error, Cancelled)
    reader.echo.cancel(2)
    assert isinstance(reader.last(2).error, Cancelled)
    assert reader.echo.held_tokens == reader.echo.open_texts == 0
    reader.echo.close()


def test_closing_ends_every_text_once() -> None:
    reader = Reader(step_s=0.002, memory_tokens=20)
    for key in range(5):
        reader.begin(key, "a b c d e", max_new_tokens=5)
    reader.has_begun(0)
    reader.echo.close()
    for key in range(5):
        assert sum(piece.is_last for piece in reader.pieces[key]) == 1
    assert isinstance(reader.last(4).error, NoEndpoint)


def test_it_is_a_generator_and_is_loaded_by_its_name() -> None:
    loader = with_identity(lambda spec: pytest.fail("another loader was asked"))
    loaded = loader(ModelSpec(model="m", tier=Tier.FULL, checkpoint=checkpoint_under(Path("nowhere"), ECHO)))
    assert isinstance(loaded, EchoGenerator)
    assert isinstance(loaded, GenerationEngine)
    loaded.close()
