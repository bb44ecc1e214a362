"""What a status means, and whose words are passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated, SluiceError, WorkerFailed
from sluice.engine.openai.http_client import error_from_status


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (401, NoEndpoint),
        (404, NoEndpoint),
        (502, NoEndpoint),
        (503, NoEndpoint),
        (429, Saturated),
        (500, WorkerFailed),
        (301, WorkerFailed),
        (418, WorkerFailed),
    ],
)
def test_a_status_is_an_error_of_the_contract(status: int, error: type[SluiceError]) -> None:
    assert type(error_from_status(status, "")) is error


@pytest.mark.parametrize("status", [429, 503])
def test_who_says_when_to_come_back_is_full_and_nothing_worse(status: int) -> None:
    error = error_from_status(status, "", retry_after="1.5")
    assert isinstance(error, Saturated)
    assert error.retry_after_s == 1.5


def test_a_date_to_come_back_at_is_not_understood() -> None:
    assert error_from_status(429, "", retry_after="Wed, 21 Oct 2026 07:28:00 GMT").retry_after_s is None


@pytest.mark.parametrize(
    "content",
    [
        {"error": {"message": "too long", "type": "BadRequestError", "param": None, "code": 400}},
        {"object": "error", "message": "too long", "type": "BadRequestError", "param": None, "code": 400},
        {"detail": "too long"},
        {"error": "too long"},
        "too long",
    ],
)
def test_the_servers_own_words_are_found(content: Any) -> None:
    body = content if isinstance(content, str) else json.dumps(content)
    error = error_from_status(400, body)
    assert (error.message, error.field) == ("too long", "")
    assert error_from_status(500, body).message == "the engine said 500: too long"


@pytest.mark.parametrize(
    ("param", "field"), [("max_tokens", "max_new_tokens"), ("temperature", "temperature"), ("logprobs", ""), (7, "")]
)
def test_the_field_is_ours_or_none(param: Any, field: str) -> None:
    assert error_from_status(400, json.dumps({"error": {"message": "no", "param": param}})).field == field


@pytest.mark.parametrize("body", ["<html>\n<p>Bad\tGateway", "[]", "null", "7", '{"error": []}', "x" * 5000])
def test_whatever_is_answered_the_message_is_one_line_and_not_long(body: str) -> None:
    message = error_from_status(500, body).message
    assert "\n" not in message
    assert len(message) < 400
