"""A step that raises: whoever causes it ends, and everybody else is written as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.engine.generation.sequence import GIVEN_BACK, ModelBroken
from sluice.engine.generation.step_recovery import CulpritSearch
from tests.unit.engine.generation.ahead import prepare_ahead
from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = pytest.mark.torch
KIND = "qwen2"
TOKENS = 12
POISON = 7


@pytest.fixture(params=[False, True], ids=["one step after the other", "steps prepared ahead"])
def ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to turn a loop."""
    if request.param:
        prepare_ahead(monkeypatch)
    return bool(request.param)


class Raising:
    """Lets a model raise at the steps that `raises` names by their input. `failures` counts them."""

    def __init__(self, model: Any, raises: Callable[[list[int]], bool], error: type[Exception] = KeyError) -> None:
        self.failures = 0
        self._raises = raises
        self._error = error
        model.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        del model, args
        if self._raises(kwargs["input_ids"].flatten().tolist()):
            self.failures += 1
            raise self._error("something in this step")


def innocent(length: int, seed: int = 0) -> list[int]:
    """A prompt whose text never comes to POISON."""
    return next(
        ids
        for ids in (prompt(length, seed + 100 * turn) for turn in range(50))
        if POISON not in (*ids, *generated(KIND, ids, TOKENS))
    )


def poisonous(length: int) -> list[int]:
    ids = prompt(length)
    ids[length // 2] = POISON
    return ids


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("place", [0, 3, 7])
@pytest.mark.parametrize("poisons", [1, 3])
def test_prompts_that_make_a_step_raise_end_and_nobody_else_notices(place: int, poisons: int) -> None:
    model = model_of(KIND)
    raising = Raising(model, lambda ids: POISON in ids)
    loop = Loop(model, texts=12)
    added = [(f"{seed}", innocent(9 + seed, seed)) for seed in range(8)]
    good = dict(added)
    bad = [f"bad {number}" for number in range(poisons)]
    added[place:place] = [(name, poisonous(20)) for name in bad]
    for name, ids in added:
        loop.add(name, ids, TOKENS)
    loop.run()
    for name in bad:
        assert "something in this step" in (loop.heard[name].error or "")
        assert loop.deliveries.count(name) == 1
    for name, ids in good.items():
        assert ended_well(loop.heard[name]), loop.heard[name]
        assert loop.tokens(name) == generated(KIND, ids, TOKENS), name
    # Halving, and each culprit is tried once more alone.
    assert raising.failures <= poisons * 6 + 1
    loop.assert_nothing_is_held()


@pytest.mark.usefixtures("ahead")
def test_a_sequence_that_comes_to_it_in_the_middle_ends_and_keeps_what_it_has() -> None:
    others = {f"{seed}": innocent(9 + seed, seed) for seed in range(5)}
    first, place = next(
        (ids, generated(KIND, ids, TOKENS)[2:].index(POISON) + 2)
        for ids in (prompt(10, seed) for seed in range(2_000))
        if POISON not in (*ids, *generated(KIND, ids, TOKENS)[:2]) and POISON in generated(KIND, ids, TOKENS)[2:-1]
    )
    model = model_of(KIND)
    # Another program's poison is not in the input of the step, but its token is.
    Raising(model, lambda ids: POISON in ids)
    loop = Loop(model)
    for name, ids in others.items():
        loop.add(name, ids, TOKENS)
    loop.add("bad", first, TOKENS)
    loop.run()
    assert "something in this step" in (loop.heard["bad"].error or "")
    assert loop.tokens("bad")[: place + 1] == generated(KIND, first, TOKENS)[: place + 1]
    for name, ids in others.items():
        assert loop.tokens(name) == generated(KIND, ids, TOKENS), name
    loop.assert_nothing_is_held()


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_that_does_not_repeat_ends_nobody(kind: str) -> None:
    model = model_of(kind)
    steps = iter(range(10_000))
    raising = Raising(model, lambda _: next(steps) in {1, 6, 15})
    loop = Loop(model)
    prompts = {f"{length}": prompt(length) for length in (1, 5, PAGE, 50)}
    for name, ids in prompts.items():
        loop.add(name, ids, TOKENS)
    loop.run()
    assert raising.failures == 3
    for name, ids in prompts.items():
        assert loop.tokens(name) == generated(kind, ids, TOKENS), name
    loop.assert_nothing_is_held()


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("where", ["plan", "prepare", "update"])
def test_a_failure_outside_the_model_costs_nobody_a_token(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(model_of(KIND), pages=32)
    owner, name = {
        "plan": (loop.allocator, "needs_new_blocks"),
        "prepare": (loop.writer.logit_processor, "prepare_tensor_args"),
        "update": (loop.processor.cache, "mark_complete_blocks"),
    }[where]
    usual = getattr(owner, name)
    calls = iter(range(10_000))

    def falter(*args: Any, **kwargs: Any) -> Any:
        if next(calls) in {2, 9}:
            raise IndexError("by chance")
        return usual(*args, **kwargs)

    monkeypatch.setattr(owner, name, falter)
    prompts = {f"{length}": prompt(length) for length in (3, PAGE, PAGE + 5, 40)}
    for one, ids in prompts.items():
        loop.add(one, ids, TOKENS)
    loop.run()
    for one, ids in prompts.items():
        assert loop.tokens(one) == generated(KIND, ids, TOKENS), one
    loop.assert_nothing_is_held()


@pytest.mark.usefixtures("ahead")
def test_a_model_that_fails_at_everything_breaks_the_loop_and_gives_back_whom_it_has_not_tried() -> None:
    model = model_of(KIND)
    Raising(model, lambda _: True)
    loop = Loop(model)
    for seed in range(6):
        loop.add(f"{seed}", prompt(9, seed), TOKENS)
    with pytest.raises(ModelBroken) as broken:
        loop.run()
    loop.writer._handle_critical_error(broken.value, loop.processor)
    errors = [loop.heard[f"{seed}"].error or "" for seed in range(6)]
    blamed = [error for error in errors if error.startswith("KeyError")]
    assert len(blamed) == 3
    assert sum(error.startswith(GIVEN_BACK) for error in errors) == 3
    assert not loop.writer.is_device_lost


@pytest.mark.parametrize(("answers", "is_lost"), [(True, False), (False, True)])
def test_a_device_is_lost_where_it_says_so_and_a_trial_fails(
    *, answers: bool, is_lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(KIND)
    Raising(model, lambda ids: POISON in ids, torch.AcceleratorError)
    loop = Loop(model)
    good = innocent(9)
    loop.add("bad", poisonous(9), TOKENS)
    loop.add("good", good, TOKENS)
    if not answers:
        monkeypatch.setattr("sluice.engine.accelerator.computes", lambda _: False)
        with pytest.raises(torch.AcceleratorError):
            loop.run()
    else:
        loop.run()
        assert loop.tokens("good") == generated(KIND, good, TOKENS)
    assert loop.writer.is_device_lost is is_lost


def test_another_error_is_no_loss_even_if_the_trial_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.engine.accelerator.computes", lambda _: False)
    model = model_of(KIND)
    Raising(model, lambda ids: POISON in ids)
    loop = Loop(model)
    loop.add("bad", poisonous(9), TOKENS)
    loop.run()
    assert loop.heard["bad"].error is not None
    assert not loop.writer.is_device_lost


@settings(deadline=None)
@given(
    sequences=st.integers(1, 40),
    poisons=st.sets(st.integers(0, 39), max_size=5),
    room=st.integers(1, 40),
    data=st.data(),
)
def test_the_search_convicts_exactly_the_culprits(
    sequences: int, poisons: set[int], room: int, data: st.DataObject
) -> None:
    """Steps of at most `room` sequences, in an order that the search knows nothing of."""
    search = CulpritSearch()
    written = {f"{number}": 0 for number in range(sequences)}
    bad = {f"{number}" for number in poisons if number < sequences}
    convicted: list[str] = []
    failures = 0
    for _ in range(4_000):
        if not written:
            break
        group = search.group
        able = [name for name in written if group is None or name in group]
        assert able, "the search waits for somebody who has gone"
        batch = data.draw(st.permutations(able))[:room] if sequences < 8 else able[:room]
        if bad.intersection(batch):
            failures += 1
            culprit = search.failed({name: written[name] for name in batch})
            if culprit is not None:
                convicted.append(culprit)
                del written[culprit]
                bad.discard(culprit)
            continue
        for name in batch:
            written[name] += 1
            if written[name] == 5:
                del written[name]
        search.succeeded(written.get)
    assert not written
    assert sorted(convicted) == sorted(f"{number}" for number in poisons if number < sequences)
    assert failures <= len(convicted) * 14
    assert search.group is None
