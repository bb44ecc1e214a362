"""What kind of question a text is taken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.query_class import LONG_CHARACTERS, infer_query_class
from sluice.tier import QueryClass

SIMPLE = [
    "where is my parcel?",
    "What does the premium plan cost?",
    "I want my money back.",
    "I don't like it.",
    "我的包裹在哪里？",
    "notable butchers and firstborns",
    "v1.2.3 of example.com",
]
COMPLEX = [
    "I don't want a refund. Send another one instead.",
    "If it is late, but not lost, wait until Monday.",
    "First it broke. Then it burned. Now it is gone.",
    "我不要退款。如果可以，请先换一个，但是不要红色。",
    "x" * (LONG_CHARACTERS + 1),
]


@pytest.mark.parametrize("text", SIMPLE)
def test_one_thought_is_simple(text: str) -> None:
    assert infer_query_class(text) is QueryClass.SIMPLE


@pytest.mark.parametrize("text", COMPLEX)
def test_several_sentences_or_turns_or_length_are_complex(text: str) -> None:
    assert infer_query_class(text) is QueryClass.COMPLEX


@given(st.text())
def test_the_class_is_always_one_of_two_and_more_text_never_makes_it_simpler(text: str) -> None:
    guessed = infer_query_class(text)
    assert guessed in {QueryClass.SIMPLE, QueryClass.COMPLEX}
    if guessed is QueryClass.COMPLEX:
        assert infer_query_class(text + " But no. Not if it rains.") is QueryClass.COMPLEX
