"""A step that has no room: it is split, its longest text refused if that does not help, and everybody else written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sluice.engine.generation.sequence import OOM_PREFIX
from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = pytest.mark.torch
KIND = "qwen2"
TOKENS = 12


@pytest.fixture(params=[False, True], ids=["one step after the other", "steps prepared ahead"], autouse=True)
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to turn a loop."""
    if request.param:
        prepare_ahead(monkeypatch)
    return bool(request.param)


class Narrow:
    """Lets a model's steps fail that do not fit. `failures` counts them."""

    def __init__(self, model: Any, fits: Callable[[dict[str, Any]], bool]) -> None:
        self.failures = 0
        self._fits = fits
        model.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        del model, args
        if not self._fits(kwargs):
            self.failures += 1
            raise torch.OutOfMemoryError("out of memory")


def tokens_of(kwargs: dict[str, Any]) -> int:
    return int(kwargs["input_ids"].numel())


def is_of_single_tokens(kwargs: dict[str, Any]) -> bool:
    return tokens_of(kwargs) == kwargs["cu_seq_lens_q"].numel() - 1


def assert_as_generated(loop: Loop, kind: str, prompts: dict[str, list[int]], tokens: int = TOKENS) -> None:
    for name, ids in prompts.items():
        assert ended_well(loop.heard[name]), loop.heard[name]
        assert loop.tokens(name) == generated(kind, ids, tokens), name


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_that_do_not_fit_together_are_read_one_after_the_other(kind: str) -> None:
    model = model_of(kind)
    narrow = Narrow(model, lambda kwargs: tokens_of(kwargs) <= 32)
    loop = Loop(model)
    prompts = {f"{seed}": prompt(20, seed) for seed in range(5)}
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
    loop.run()
    assert narrow.failures > 0
    assert_as_generated(loop, kind, prompts)
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_do_not_fit_together_are_written_in_turns(kind: str) -> None:
    model = model_of(kind)
    narrow = Narrow(model, lambda kwargs: tokens_of(kwargs) <= 3 or not is_of_single_tokens(kwargs))
    loop = Loop(model)
    prompts = {f"{seed}": prompt(10 + seed, seed) for seed in range(6)}
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
    loop.run()
    assert narrow.failures > 0
    assert_as_generated(loop, kind, prompts)
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_does_not_fit_alone_is_read_in_halves(kind: str) -> None:
    model = model_of(kind)
    narrow = Narrow(model, lambda kwargs: tokens_of(kwargs) <= 32)
    loop = Loop(model)
    loop.add("long", prompt(50), TOKENS)
    loop.run()
    assert narrow.failures == 1
    assert_as_generated(loop, kind, {"long": prompt(50)})


@pytest.mark.parametrize("place", [0, 2, 6])
def test_one_whose_halves_have_no_room_either_is_refused_and_the_rest_is_written(place: int) -> None:
    model = model_of(KIND)
    narrow = Narrow(model, lambda kwargs: tokens_of(kwargs) <= 12)
    loop = Loop(model)
    prompts = {f"{seed}": prompt(9, seed) for seed in range(6)}
    added = list(prompts.items())
    added.insert(place, ("long", prompt(45)))
    for name, ids in added:
        loop.add(name, ids, TOKENS)
    loop.run()
    assert narrow.failures >= 2
    assert (loop.heard["long"].error or "").startswith(OOM_PREFIX)
    assert loop.deliveries.count("long") == 1
    assert_as_generated(loop, KIND, prompts)
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_all_that_says_so_is_understood(error: Exception) -> None:
    model = model_of(KIND)
    steps = iter([error])

    def look(*_: Any) -> None:
        for one in steps:
            raise one

    model.register_forward_pre_hook(look)
    loop = Loop(model)
    loop.add("a", prompt(9), TOKENS)
    loop.run()
    assert_as_generated(loop, KIND, {"a": prompt(9)})


def test_another_error_is_not_taken_for_it() -> None:
    model = model_of(KIND)

    def look(*_: Any) -> None:
        raise RuntimeError("something else")

    model.register_forward_pre_hook(look)
    loop = Loop(model)
    loop.add("a", prompt(9), TOKENS)
    loop.run()
    assert loop.heard["a"].error == "RuntimeError: something else"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_texts_are_right_whichever_steps_fail(kind: str, seed: int) -> None:
    dice = torch.Generator().manual_seed(seed)
    model = model_of(kind)
    steps = iter(range(10_000))
    failed: list[int] = []

    def fits(kwargs: dict[str, Any]) -> bool:
        step = next(steps)
        # Never twice in a row: nobody is refused.
        if torch.rand((), generator=dice) < 0.3 and step - 1 not in failed:
            failed.append(step)
            return False
        return True

    Narrow(model, fits)
    loop = Loop(model, texts=6, pages=24, batch_tokens=32)
    lengths = (1, 3, PAGE - 1, PAGE, PAGE + 1, 50, 7)
    prompts = {f"{length}": prompt(length) for length in lengths}
    for place, (name, ids) in enumerate(prompts.items()):
        loop.add(name, ids, TOKENS)
        for _ in range(place % 3):
            loop.step()
    loop.run()
    assert failed
    assert_as_generated(loop, kind, prompts)
    loop.assert_nothing_is_held()


def test_what_is_drawn_is_drawn_alike_after_a_failure() -> None:
    drawn = []
    for fails in (set[int](), {2, 5}):
        model = model_of(KIND)
        steps = iter(range(1_000))
        Narrow(model, lambda _, fails=fails, steps=steps: next(steps) not in fails)  # type: ignore[misc]
        loop = Loop(model)
        for seed in range(3):
            loop.add(f"{seed}", prompt(9), TOKENS, temperature=1.0, seed=seed)
        loop.add("greedy", prompt(9), TOKENS)
        loop.run()
        drawn.append([loop.tokens(f"{seed}") for seed in range(3)])
    assert drawn[0] == drawn[1]
    assert [len(tokens) for tokens in drawn[0]] == [TOKENS] * 3


def test_one_that_is_cancelled_after_a_failure_is_gone() -> None:
    model = model_of(KIND)
    narrow = Narrow(model, lambda kwargs: tokens_of(kwargs) <= 32)
    loop = Loop(model)
    prompts = {f"{seed}": prompt(20, seed) for seed in range(4)}
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
    while not narrow.failures:
        loop.step()
    loop.cancel("1")
    loop.run()
    del prompts["1"]
    assert "1" not in loop.heard
    assert_as_generated(loop, KIND, prompts)
    loop.assert_nothing_is_held()
