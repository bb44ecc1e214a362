"""The demo's requests: classes in their shares, complexities that fit, and nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from sluice.cli.demo_requests import read_examples
from sluice.training import corpus
from sluice.training.phrasebook import load
from sluice.training.requests_file import QUERY_CLASSES, draw_requests, write_rows

TESTS = corpus.draw_tests(load(), 7, scale=0.3)


@pytest.fixture(scope="module")
def requests() -> list[dict[str, object]]:
    return draw_requests(TESTS.seen, TESTS.held_out, seed=7, count=200)


def test_classes_have_their_shares_and_messages_that_fit(requests: list[dict[str, object]]) -> None:
    assert Counter(one["query_class"] for one in requests) == {"simple": 80, "complex": 70, "real_time": 50}
    by_name = {one.name: one for one in QUERY_CLASSES}
    for request in requests:
        expected = by_name[str(request["query_class"])]
        assert request["complexity"] in expected.complexities
        assert request["timeout_ms"] == expected.timeout_ms


def test_no_message_comes_twice_and_one_in_ten_is_novel(requests: list[dict[str, object]]) -> None:
    texts = [one["text"] for one in requests]
    assert len(set(texts)) == 200
    assert sum(text in {message.text for message in TESTS.held_out} for text in texts) == 20


def test_priorities_lie_in_the_contracts_range_and_a_quarter_is_hot(requests: list[dict[str, object]]) -> None:
    priorities = [float(str(one["priority"])) for one in requests]
    assert all(0.0 <= priority <= 1.0 for priority in priorities)
    assert 30 <= sum(priority >= 0.7 for priority in priorities) <= 70


def test_too_few_messages_are_told_rather_than_repeated() -> None:
    with pytest.raises(ValueError, match="messages fit class simple, 36 are wanted; pass more"):
        draw_requests(TESTS.seen[:8], TESTS.held_out, seed=7, count=100)


def test_what_is_written_is_what_the_demo_reads(tmp_path: Path, requests: list[dict[str, object]]) -> None:
    file = tmp_path / "new" / "requests.jsonl"
    write_rows(file, requests)
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == requests
    examples = read_examples(file)
    assert [(one.query.text, one.label) for one in examples] == [(one["text"], one["label"]) for one in requests]
    assert list(file.parent.iterdir()) == [file]
