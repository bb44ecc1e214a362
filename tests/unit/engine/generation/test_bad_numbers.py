"""A text for which a model computes no number: it ends, its neighbours do not notice, and its pages spoil nobody."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sluice.engine.generation.sampler import NO_TOKEN
from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.loops import KINDS, PAGE, VOCABULARY, Loop, generated, model_of, prompt

pytestmark = [pytest.mark.torch, pytest.mark.parametrize("kind", KINDS)]
TOKENS = 12


@pytest.fixture(params=[False, True], ids=["one step after the other", "steps prepared ahead"], autouse=True)
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to turn a loop."""
    if request.param:
        prepare_ahead(monkeypatch)
    return bool(request.param)


def spoiled(kind: str, token: int) -> Any:
    """A model in which every text with `token` becomes no number, in its cache and in what is written."""
    model = model_of(kind)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = torch.nan
    return model


def assert_clean(loop: Loop) -> None:
    """All pages hold numbers when the next step gives them to texts."""
    loop.allocator.clear()
    for layer in loop.allocator.layer_indices:
        for pages in loop.allocator.get_cache_for_block_table(layer):
            assert pages[2:].isfinite().all()


def seldom(kind: str, prompts: list[list[int]]) -> int:
    """A token that none of these texts comes to."""
    used = {token for ids in prompts for token in (*ids, *generated(kind, ids, TOKENS))}
    return next(token for token in range(3, VOCABULARY) if token not in used)


def turning(kind: str, used: set[int]) -> tuple[list[int], int, int]:
    """A prompt, a token that it comes to and that is not `used`, and at which place."""
    return next(
        (first, written[place], place)
        for first in (prompt(PAGE - 2, seed) for seed in range(20))
        for written in (generated(kind, first, TOKENS),)
        for place in range(2, TOKENS)
        if written[place] not in {*used, *first, *written[:place]}
    )


@pytest.mark.parametrize("place", [0, PAGE - 1, PAGE, 2 * PAGE + 3])
def test_a_prompt_that_becomes_no_number(kind: str, place: int) -> None:
    good = [prompt(length) for length in (5, PAGE, 40)]
    token = seldom(kind, good)
    loop = Loop(spoiled(kind, token), pages=12)
    bad = prompt(2 * PAGE + 4)
    bad[place] = token
    loop.add("bad", bad, TOKENS)
    for ids in good:
        loop.add(f"{len(ids)}", ids, TOKENS)
    loop.run()
    assert loop.tokens("bad") == [NO_TOKEN]
    for ids in good:
        assert loop.tokens(f"{len(ids)}") == generated(kind, ids, TOKENS)
    assert_clean(loop)
    loop.assert_nothing_is_held()


def test_a_text_that_becomes_no_number_while_it_is_written(kind: str) -> None:
    good = [prompt(length, 5) for length in (5, PAGE)]
    used = {token for ids in good for token in (*ids, *generated(kind, ids, TOKENS))}
    first, token, place = turning(kind, used)
    written = generated(kind, first, TOKENS)
    loop = Loop(spoiled(kind, token), pages=6)
    loop.add("bad", first, TOKENS + 6)
    for ids in good:
        loop.add(f"{len(ids)}", ids, TOKENS)
    loop.run()
    assert loop.tokens("bad") == [*written[: place + 1], NO_TOKEN]
    assert_clean(loop)
    # And again in the very same pages.
    for ids in good:
        assert loop.tokens(f"{len(ids)}") == generated(kind, ids, TOKENS)
        loop.add(f"again {len(ids)}", ids, TOKENS)
    loop.run()
    for ids in good:
        assert loop.tokens(f"again {len(ids)}") == generated(kind, ids, TOKENS)
    loop.assert_nothing_is_held()


def test_whoever_shares_its_beginning_is_not_harmed_now_or_later(kind: str) -> None:
    begin = prompt(2 * PAGE + 3)
    good = [begin + prompt(6, seed) for seed in range(3)]
    token = seldom(kind, good)
    loop = Loop(spoiled(kind, token), pages=12)
    loop.add("0", good[0], TOKENS)
    loop.run("0")
    loop.add("bad", [*begin, token, 5], TOKENS)
    loop.add("1", good[1], TOKENS)
    loop.run()
    loop.add("2", good[2], TOKENS)
    loop.run()
    assert loop.tokens("bad") == [NO_TOKEN]
    for seed in range(3):
        assert loop.tokens(f"{seed}") == generated(kind, good[seed], TOKENS)
    assert_clean(loop)
    loop.assert_nothing_is_held()


def test_two_of_the_same_leave_nothing(kind: str) -> None:
    good = prompt(3 * PAGE)
    token = seldom(kind, [good])
    loop = Loop(spoiled(kind, token), pages=8, batch_tokens=128)
    bad = [*prompt(PAGE), token, *prompt(PAGE, 1)]
    for name in "ab":
        loop.add(name, bad, TOKENS)
    loop.run()
    assert loop.tokens("a") == loop.tokens("b") == [NO_TOKEN]
    assert_clean(loop)
    loop.add("good", good, TOKENS)
    loop.run()
    assert loop.tokens("good") == generated(kind, good, TOKENS)
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("steps", [1, 2])
def test_one_that_is_cancelled_before_anybody_saw_it(kind: str, steps: int) -> None:
    good = prompt(3 * PAGE)
    token = seldom(kind, [good])
    loop = Loop(spoiled(kind, token), pages=6, batch_tokens=24)
    bad = prompt(4 * PAGE)
    bad[20] = token
    loop.add("bad", bad, TOKENS)
    for _ in range(steps):
        loop.step()
    loop.cancel("bad")
    loop.add("good", good, TOKENS)
    loop.run()
    assert loop.tokens("bad") == []
    assert loop.tokens("good") == generated(kind, good, TOKENS)
    assert_clean(loop)
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("ends", ["by its length", "by a token", "by a cancellation"])
def test_what_becomes_no_number_behind_the_last_token_is_seen_by_nobody_and_spoils_nobody(kind: str, ends: str) -> None:
    good = [prompt(length, 5) for length in (5, PAGE)]
    used = {token for ids in good for token in (*ids, *generated(kind, ids, TOKENS))}
    first, token, place = turning(kind, used)
    loop = Loop(spoiled(kind, token), pages=6)
    loop.add("bad", first, place + 1 if ends == "by its length" else TOKENS, ends=token if ends == "by a token" else -1)
    if ends == "by a cancellation":
        while token not in loop.tokens("bad"):
            loop.step()
        loop.cancel("bad")
    loop.run()
    assert loop.tokens("bad")[-1] == token
    assert_clean(loop)
    for ids in good:
        loop.add(f"{len(ids)}", ids, TOKENS)
    loop.run()
    for ids in good:
        assert loop.tokens(f"{len(ids)}") == generated(kind, ids, TOKENS)
    loop.assert_nothing_is_held()


def test_what_is_drawn_from_no_number_is_no_token(kind: str) -> None:
    good = prompt(5)
    token = seldom(kind, [good])
    loop = Loop(spoiled(kind, token))
    ways: list[dict[str, Any]] = [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.5, "top_k": 3}]
    for place, way in enumerate(ways):
        loop.add(f"{place}", [token, 5, 6], TOKENS, **way)
    loop.add("good", good, TOKENS)
    loop.run()
    assert [loop.tokens(f"{place}") for place in range(3)] == [[NO_TOKEN]] * 3
    assert loop.tokens("good") == generated(kind, good, TOKENS)
