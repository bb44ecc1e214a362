"""Stop strings: against a search of the whole text, however it is cut, and by what is held back meanwhile."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.engine.generation.sequence import StopChecker

# Few letters, so that strings overlap, repeat themselves and stand inside each other.
TEXTS = st.text("ab\u00e9", max_size=40)
STRINGS = st.lists(st.text("ab\u00e9", min_size=1, max_size=6), max_size=4)


def by_search(text: str, strings: list[str]) -> str:
    """The text before the string that is complete first, the longest of several: by trying every end."""
    for end in range(1, len(text) + 1):
        complete = [string for string in strings if text[:end].endswith(string)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(edges)]


@given(TEXTS, STRINGS, st.lists(st.integers(0, 1000), max_size=40))
def test_a_text_ends_where_a_search_finds_it_however_it_is_cut(
    text: str, strings: list[str], places: list[int]
) -> None:
    stops = StopChecker(strings)
    sent = "".join(stops.push(piece) for piece in cut(text, places)) + stops.flush()
    assert sent == by_search(text, strings)
    assert stops.found == any(string in text for string in strings)


@given(TEXTS, STRINGS)
def test_nothing_is_sent_that_a_stop_string_could_take_back_and_nothing_else_is_held(
    text: str, strings: list[str]
) -> None:
    stops, sent = StopChecker(strings), ""
    for end, character in enumerate(text, start=1):
        sent += stops.push(character)
        if stops.found:
            break
        held = text[len(sent) : end]
        beginnings = {string[:length] for string in strings for length in range(1, len(string))}
        possible = [tail for tail in (text[begin:end] for begin in range(end)) if tail in beginnings]
        assert held == max(possible, key=len, default="")


def test_the_string_that_is_complete_first_ends_the_text() -> None:
    stops = StopChecker(["abcd", "c"])
    assert stops.push("xabcd") == "xab"
    assert stops.found


def test_of_strings_complete_at_once_none_is_sent_in_part() -> None:
    assert StopChecker(["bc", "abc"]).push("xabc") == "x"


def test_after_a_stop_string_nothing_comes_out() -> None:
    stops = StopChecker(["\n"])
    assert stops.push("one\ntwo") == "one"
    assert stops.push("three") == ""
    assert stops.flush() == ""


def test_a_beginning_that_came_to_nothing_is_sent_with_what_broke_it() -> None:
    stops = StopChecker(["<end>"])
    assert stops.push("a<en") == "a"
    assert stops.push("<e") == "<en"
    assert stops.push("nough") == "<enough"
    assert not stops.found


def test_what_is_held_when_the_text_ends_is_part_of_it() -> None:
    stops = StopChecker(["<end>"])
    assert stops.push("a<en") + stops.flush() == "a<en"
    assert stops.flush() == ""


def test_without_strings_everything_passes() -> None:
    stops = StopChecker([])
    assert stops.push("anything") == "anything"
    assert not stops.found


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="before it begins"):
        StopChecker(["a", ""])
