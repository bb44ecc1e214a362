"""Token for token what transformers' `generate` writes, whatever else is written at the same time."""

from __future__ import annotations

import pytest

from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = [pytest.mark.torch, pytest.mark.parametrize("kind", KINDS)]
TOKENS = 24
# Around the edges of a page, and longer than a batch is.
LENGTHS = (1, 3, PAGE - 1, PAGE, PAGE + 1, 40, 64, 100, 33, 150)


def test_many_texts_of_different_lengths_at_once(kind: str) -> None:
    loop = Loop(model_of(kind))
    for length in LENGTHS:
        loop.add(f"{length}", prompt(length), TOKENS)
    loop.run()
    for length in LENGTHS:
        assert loop.tokens(f"{length}") == generated(kind, prompt(length), TOKENS), length
        assert ended_well(loop.heard[f"{length}"])
    assert any(len(batch) > 4 for batch in loop.batches)
    assert max(sum(tokens for _, tokens in batch) for batch in loop.batches) == 64
    loop.assert_nothing_is_held()


def test_texts_that_join_while_others_are_written(kind: str) -> None:
    loop = Loop(model_of(kind), texts=4, pages=40)
    for place, length in enumerate(LENGTHS):
        loop.add(f"{length}", prompt(length), TOKENS - place)
        for _ in range(place % 4):
            loop.step()
    loop.run()
    for place, length in enumerate(LENGTHS):
        assert loop.tokens(f"{length}") == generated(kind, prompt(length), TOKENS)[: TOKENS - place], length
    loop.assert_nothing_is_held()


def test_several_prompts_that_are_cut_into_pieces(kind: str) -> None:
    loop = Loop(model_of(kind), batch_tokens=16)
    for length in (90, 50, 37, 16, 5):
        loop.add(f"{length}", prompt(length), TOKENS)
    loop.run()
    for length in (90, 50, 37, 16, 5):
        assert loop.tokens(f"{length}") == generated(kind, prompt(length), TOKENS), length
    assert max(sum(tokens for _, tokens in batch) for batch in loop.batches) == 16


def test_texts_with_the_same_beginning_share_its_pages(kind: str) -> None:
    loop = Loop(model_of(kind))
    begin = prompt(3 * PAGE + 5)
    prompts = {name: begin + prompt(9, seed) for seed, name in enumerate("abcd")}
    loop.add("a", prompts["a"], TOKENS)
    loop.run("a")
    for name in "bcd":
        loop.add(name, prompts[name], TOKENS)
    loop.run(*"bcd")
    tables = [loop.pages_of(name) for name in "abcd"]
    assert all(table[:3] == tables[0][:3] for table in tables)
    assert len({page for table in tables for page in table}) == 3 + sum(len(table) - 3 for table in tables)
    # What is shared was not computed again.
    assert [tokens for batch in loop.batches for name, tokens in batch if name in "bcd" and tokens > 1] == [5 + 9] * 3
    loop.run()
    for name in "abcd":
        assert loop.tokens(name) == generated(kind, prompts[name], TOKENS), name
    loop.assert_nothing_is_held()


def test_a_beginning_is_kept_for_those_that_come_later(kind: str) -> None:
    loop = Loop(model_of(kind))
    begin = prompt(2 * PAGE)
    for seed, name in enumerate("ab"):
        loop.add(name, begin + prompt(4, seed), TOKENS)
        loop.run()
        assert loop.tokens(name) == generated(kind, begin + prompt(4, seed), TOKENS)
    assert [tokens for batch in loop.batches for name, tokens in batch if tokens > 1] == [2 * PAGE + 4, 4]
    # And the same text again, of which all but the last token is known.
    loop.add("again", begin + prompt(4, 0), TOKENS)
    loop.run()
    assert loop.tokens("again") == loop.tokens("a")
    loop.assert_nothing_is_held()
