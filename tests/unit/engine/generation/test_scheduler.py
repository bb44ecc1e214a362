"""Who is worked on next: what is begun is certain of its memory, and all that is taken comes back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.generation.loops import KINDS, PAGE, Loop, ended_well, generated, model_of, prompt

pytestmark = pytest.mark.torch
KIND = "qwen2"


def unthinking(**shape: Any) -> Loop:
    """A loop whose model is never asked: every token is 0."""
    loop = Loop(_MODEL, **shape)
    loop.processor._generation_step = lambda model: None
    return loop


_MODEL = model_of(KIND)


def begun(loop: Loop) -> list[str]:
    """Texts in the order in which something was first computed for them."""
    return list(dict.fromkeys(name for batch in loop.batches for name, _ in batch))


def test_a_text_waits_until_all_its_pages_are_certain() -> None:
    loop = unthinking(pages=6)
    # Four pages in the end, though one is enough to begin with.
    loop.add("a", prompt(PAGE // 2), 4 * PAGE - PAGE // 2)
    loop.add("b", prompt(PAGE), 2 * PAGE)
    loop.run("a")
    assert loop.scheduler.reserved_tokens == 4 * PAGE
    for _ in range(4 * PAGE - PAGE // 2 - 2):
        loop.step()
        assert not loop.pages_of("b")
    loop.run()
    assert [len(loop.tokens(name)) for name in "ab"] == [4 * PAGE - PAGE // 2, 2 * PAGE]
    loop.assert_nothing_is_held()


def test_nobody_overtakes_a_large_one_that_waits() -> None:
    loop = unthinking(pages=6)
    loop.add("first", prompt(4 * PAGE), 8)
    loop.add("large", prompt(4 * PAGE, 1), 8)
    for number in range(8):
        loop.add(f"small {number}", prompt(3), 3)
    loop.run()
    assert begun(loop) == ["first", "large", *(f"small {number}" for number in range(8))]
    loop.assert_nothing_is_held()


def test_one_that_just_fits_is_written_to_the_last_token() -> None:
    loop = unthinking(pages=3)
    loop.add("all", prompt(PAGE), 2 * PAGE)
    loop.add("next", prompt(PAGE), 2 * PAGE)
    loop.run()
    assert [len(loop.tokens(name)) for name in ("all", "next")] == [2 * PAGE] * 2
    loop.assert_nothing_is_held()


def test_no_more_texts_are_begun_than_may_be_written_and_all_of_those_advance() -> None:
    loop = unthinking(texts=4, pages=60, batch_tokens=16)
    for number in range(12):
        loop.add(f"{number}", prompt(10, number), 20)
    while not loop.is_idle:
        loop.step()
        counts = [len(one.generated_tokens) for one in loop.scheduler.active_requests.values()]
        assert len(counts) <= 4
    assert all(len(loop.tokens(f"{number}")) == 20 for number in range(12))
    loop.assert_nothing_is_held()


def test_prompts_that_keep_coming_do_not_stop_who_is_written() -> None:
    loop = unthinking(texts=8, pages=200, batch_tokens=16)
    loop.add("patient", prompt(4), 40)
    loop.run("patient")
    for number in range(60):
        loop.add(f"{number}", prompt(16, number), 2)
    steps = 0
    while len(loop.tokens("patient")) < 40:
        loop.step()
        steps += 1
    assert steps <= 2 * 40
    loop.run()


def test_who_is_written_does_not_stop_prompts_that_come() -> None:
    loop = unthinking(texts=8, pages=200)
    for number in range(4):
        loop.add(f"{number}", prompt(4, number), 100)
    loop.run("0", "3")
    loop.add("new", prompt(40), 4)
    for _ in range(2):
        loop.step()
    assert loop.tokens("new")


def test_kept_prefixes_are_given_up_for_who_needs_the_room() -> None:
    loop = unthinking(pages=8)
    loop.add("a", prompt(5 * PAGE), 4)
    loop.run()
    assert loop.kept_pages == 5
    loop.add("small", prompt(PAGE), 4)
    loop.run()
    assert loop.kept_pages >= 5
    loop.add("b", prompt(7 * PAGE), 4)
    loop.run()
    assert loop.kept_pages == 7
    loop.assert_nothing_is_held()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_frees_all_before_the_next_step(kind: str, steps: int) -> None:
    loop = Loop(model_of(kind), pages=10)
    # Its prompt is cut in two, and whoever comes after needs its pages.
    loop.add("gone", prompt(100), 40)
    loop.add("next", prompt(40), 24)
    for _ in range(steps):
        loop.step()
    assert "next" not in begun(loop)
    loop.cancel("gone")
    loop.step()
    assert loop.pages_of("gone") == []
    assert begun(loop)[-1] == "next"
    loop.run()
    assert loop.tokens("next") == generated(kind, prompt(40), 24)
    assert len(loop.tokens("gone")) < 40
    loop.assert_nothing_is_held()


def test_cancelling_what_waits_what_has_ended_and_what_never_was() -> None:
    loop = unthinking(pages=6)
    loop.add("a", prompt(4 * PAGE), 4)
    loop.add("waits", prompt(4 * PAGE, 1), 4)
    loop.run("a")
    loop.cancel("waits")
    loop.run()
    assert begun(loop) == ["a"]
    loop.cancel("a")
    loop.cancel("nobody")
    loop.run()
    loop.assert_nothing_is_held()


def test_one_that_is_cancelled_before_it_is_begun_takes_nothing() -> None:
    loop = unthinking(pages=6)
    loop.add("a", prompt(4), 4)
    loop.cancel("a")
    loop.run()
    assert loop.batches == []
    loop.assert_nothing_is_held()


def test_a_text_of_which_a_step_is_still_under_way_is_over_when_it_is_cancelled() -> None:
    loop = unthinking(pages=6)
    loop.add("a", prompt(PAGE - 1), 20)
    loop.run("a")
    state = loop.scheduler.active_requests["a"]
    loop.cancel("a")
    loop.run()
    # Where a step is prepared while the one before it runs, that one's results come when nothing is held any more.
    assert state.status.name == "FINISHED"


_OPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 5 * PAGE), st.integers(1, 3 * PAGE)),
    st.tuples(st.just("step"), st.integers(1, 30), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
)


@settings(max_examples=40)
@given(st.lists(_OPS, max_size=40), st.integers(1, 6), st.sampled_from([8, 16, 40]))
def test_after_any_mixture_everything_has_come_back(ops: list[Any], texts: int, batch_tokens: int) -> None:
    loop = unthinking(texts=texts, pages=8, batch_tokens=batch_tokens)
    asked: dict[str, int] = {}
    cancelled: set[str] = set()
    for op, number, tokens in ops:
        if op == "add":
            name = f"{len(asked)}"
            asked[name] = tokens
            # The same few beginnings, so that pages are shared.
            loop.add(name, prompt(5 * PAGE, len(asked) % 3)[:number], tokens)
        elif op == "cancel" and asked:
            name = f"{number % len(asked)}"
            cancelled.add(name)
            loop.cancel(name)
        else:
            for _ in range(number):
                if not loop.is_idle:
                    loop.step()
    loop.run()
    for name, tokens in asked.items():
        if name not in cancelled:
            assert len(loop.tokens(name)) == tokens
            assert ended_well(loop.heard[name])
    firsts = begun(loop)
    assert firsts == sorted(firsts, key=int)
    loop.assert_nothing_is_held()
