"""The rule that judges replies: each way to be wrong is told from each other, and what may vary does."""

from __future__ import annotations

import pytest

from sluice.training.chat.mail import Mail
from sluice.training.chat.reading import language_of, reader

MAIL = Mail(
    text="Where is order A1234? The red scarf never came.",
    intent="order_status",
    language="en",
    details={"order": "A1234", "item": "red scarf"},
)
CHINESE = Mail(text="订单A1234到哪了", intent="order_status", language="zh", details={"order": "A1234"})


@pytest.mark.parametrize(
    "reply",
    [
        "I am tracking the red scarf of order A1234 for you.",
        "Hello! I am sorry for the wait. I am tracking order A1234 right now. Could you tell me the order number?",
        "I am finding out where your parcel is.",
        "I am tracking your Red scarf for you now. Kind regards, your shop team",
    ],
    ids=["all details", "in a letter", "no details", "capital letter"],
)
def test_a_fitting_reply_is_right(reply: str) -> None:
    assert reader().read(reply, MAIL).is_right


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        ("I am tracking the red scarf of order A1243 for you.", {"details_right", "order_right"}),
        ("I am tracking the tent of order A1234 for you.", {"details_right"}),
        ("I am finding out where your parcel is. I have noted order A12345.", {"order_right"}),
        ("I have cancelled order A1234 for you.", {"on_its_intent"}),
        ("We love tracking orders.", {"on_its_intent"}),
        ("我正在为您查询包裹的物流。", {"in_its_language", "on_its_intent"}),
        ("", {"on_its_intent"}),
    ],
    ids=["number", "article", "number elsewhere", "intent", "no sentence of it", "language", "nothing"],
)
def test_a_wrong_reply_is_wrong_for_its_reason(reply: str, wrong: set[str]) -> None:
    reading = reader().read(reply, MAIL)
    assert not reading.is_right
    names = ("in_its_language", "on_its_intent", "details_right", "order_right")
    assert {name for name in names if not getattr(reading, name)} == wrong


def test_it_is_told_what_a_reply_names() -> None:
    told = {
        reply: (reading.details_named, reading.order_named)
        for reply in (
            "I am finding out where your parcel is.",
            "I am tracking your red scarf for you now.",
            "I am tracking order A1234 for you now.",
        )
        for reading in [reader().read(reply, MAIL)]
    }
    assert list(told.values()) == [(False, False), (True, False), (True, True)]


def test_chinese_is_read_as_well() -> None:
    right = reader().read("您好！我正在为您查询订单A1234的物流。今天会把物流进度发给您。", CHINESE)
    assert right.is_right
    assert right.order_named
    assert not reader().read("我正在为您查询订单A4321的物流。", CHINESE).order_right


def test_the_intents_of_a_reply_are_those_of_its_sentences() -> None:
    assert reader().intents("I am tracking your parcel for you now. I have cancelled order 1 for you.") == {
        "order_status",
        "cancel_order",
    }
    assert reader().intents("Good day to you.") == set()


@pytest.mark.parametrize(
    ("text", "language"),
    [("Hello there", "en"), ("您好", "zh"), ("您的PayPal付款", "zh"), ("order 订单 is late", "en"), ("", "en")],
)
def test_language_is_told_by_what_there_is_more_of(text: str, language: str) -> None:
    assert language_of(text) == language
