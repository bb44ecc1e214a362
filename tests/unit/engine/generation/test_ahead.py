"""Steps that are prepared before the results of the one before are known, as on an accelerator."""

from __future__ import annotations

import pytest

from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = [pytest.mark.torch, pytest.mark.parametrize("kind", KINDS)]
TOKENS = 24
LENGTHS = (1, 3, PAGE - 1, PAGE, PAGE + 1, 40, 100, 33)


@pytest.fixture(autouse=True)
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step."""
    prepare_ahead(monkeypatch)


def test_texts_are_what_generate_writes(kind: str) -> None:
    loop = Loop(model_of(kind), texts=5)
    assert loop.processor.use_async_batching
    for place, length in enumerate(LENGTHS):
        loop.add(f"{length}", prompt(length), TOKENS - place)
        for _ in range(place % 3):
            loop.step()
    loop.run()
    for place, length in enumerate(LENGTHS):
        assert loop.tokens(f"{length}") == generated(kind, prompt(length), TOKENS)[: TOKENS - place], length
        assert ended_well(loop.heard[f"{length}"])
    loop.assert_nothing_is_held()


def test_one_that_fills_the_cache_is_written_to_the_last_token(kind: str) -> None:
    loop = Loop(model_of(kind), pages=3)
    for seed in range(3):
        loop.add(f"{seed}", prompt(PAGE, seed), 2 * PAGE)
    loop.run()
    for seed in range(3):
        assert loop.tokens(f"{seed}") == generated(kind, prompt(PAGE, seed), 2 * PAGE)
    loop.assert_nothing_is_held()


def test_an_end_that_is_seen_late_spoils_nothing(kind: str) -> None:
    loop = Loop(model_of(kind), pages=4)
    expected = generated(kind, prompt(PAGE), TOKENS)
    end = expected[5]
    loop.add("ends", prompt(PAGE), TOKENS, ends=end)
    loop.add("next", prompt(PAGE + 7), TOKENS)
    loop.run()
    assert loop.tokens("ends") == expected[: expected.index(end) + 1]
    assert loop.tokens("next") == generated(kind, prompt(PAGE + 7), TOKENS)
    loop.assert_nothing_is_held()


def test_one_that_is_cancelled_while_a_step_of_it_is_under_way(kind: str) -> None:
    # Among these is the step that fills a page, which has more to do when its results come.
    for steps in range(1, 9):
        loop = Loop(model_of(kind), pages=8)
        loop.add("gone", prompt(PAGE - 3), 3 * PAGE)
        loop.add("stays", prompt(PAGE), TOKENS)
        for _ in range(steps):
            if not loop.is_idle:
                loop.step()
        loop.cancel("gone")
        loop.add("next", prompt(PAGE + 5), 3)
        loop.run()
        assert loop.tokens("stays") == generated(kind, prompt(PAGE), TOKENS)
        assert loop.tokens("next") == generated(kind, prompt(PAGE + 5), 3)
        loop.assert_nothing_is_held()
