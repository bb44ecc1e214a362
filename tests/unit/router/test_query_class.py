"""What kind of question a text is taken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.scheduling.complexity import ASSUMED, COMPLEX_FROM, infer_query_class, load_complexity
from sluice.domain.enums import QueryClass

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
    "I don't want a refund. Send another one instead. Or no, wait. First tell me if the blue one is there. And when.",
    "If it is late, but not lost, wait until Monday. If it is lost, send another. Otherwise tell me where it is. Now.",
    "First it broke. Then it burned. Now it is gone. Nobody answers. I want my money back.",
    "我不要退款。如果可以，请先换一个，但是不要红色。要是没有蓝色，就改成绿色。不要打电话给我。",
    "x" * 2_000,
]
judge = load_complexity("")


@pytest.mark.parametrize("text", SIMPLE)
def test_one_thought_is_simple(text: str) -> None:
    assert infer_query_class(judge(text)) is QueryClass.SIMPLE


@pytest.mark.parametrize("text", COMPLEX)
def test_several_sentences_turns_and_length_are_complex(text: str) -> None:
    assert infer_query_class(judge(text)) is QueryClass.COMPLEX


@given(st.text())
def test_more_text_never_makes_it_simpler(text: str) -> None:
    if infer_query_class(judge(text)) is QueryClass.COMPLEX:
        assert infer_query_class(judge(text + " But no. Not if it rains.")) is QueryClass.COMPLEX


def test_what_is_assumed_of_a_named_class_agrees_with_what_would_be_inferred() -> None:
    assert ASSUMED[QueryClass.SIMPLE] < ASSUMED[QueryClass.REAL_TIME] < COMPLEX_FROM < ASSUMED[QueryClass.COMPLEX]
