"""Files of texts are read, and what is wrong in one is told by file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.errors import InvalidRequest
from sluice.runtime.jsonl import read_rows, read_texts, text_of


def written(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "lines"
    file.write_text(content, encoding="utf-8")
    return file


def row(values: Mapping[str, Any], number: int) -> tuple[int, str]:
    return number, text_of(values, "name")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("where is it?\n\n  \nthank you\n", ("where is it?", "thank you")),
        ('{"text": "a"}\n\n{"text": "b", "label": "x"}\n', ("a", "b")),
        ("包裹", ("包裹",)),
        ('said "{" first', ('said "{" first',)),
        ("one\r\ntwo\r\n", ("one", "two")),
        ('{"text": "a\u2028b"}', ("a\u2028b",)),
    ],
)
def test_texts_are_lines_or_json_lines(tmp_path: Path, content: str, texts: tuple[str, ...]) -> None:
    assert read_texts(written(tmp_path, content), field="texts") == texts


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "lines is empty"),
        (" \n\n", "lines is empty"),
        ('{"text": "a"}\nplain\n', "lines, line 2: is no JSON: Expecting value"),
        ('{"text": "a"}\n\n{"label": "a"}\n', "lines, line 3: 'text' is missing, or no text"),
        ('{"text": 1}', "lines, line 1: 'text' is missing, or no text"),
        ('{"text": "a"}\n[1]', "lines, line 2: is no JSON object"),
    ],
)
def test_what_is_no_text_is_told_by_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        read_texts(written(tmp_path, content), field="texts")
    assert caught.value.field == "texts"


def test_rows_know_their_line(tmp_path: Path) -> None:
    assert read_rows(written(tmp_path, '\n{"name": "a"}\n\n{"name": "b"}\n'), row, field="x") == [(2, "a"), (4, "b")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "lines is empty"),
        ("plain", "line 1: is no JSON: Expecting value"),
        ('{"name": "a"', "line 1: is no JSON"),
        ("[]", "line 1: is no JSON object"),
        ('{"name": "a"}\n{"name": 5}', "line 2: 'name' is missing, or no text"),
    ],
)
def test_what_is_no_row_is_told_by_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        read_rows(written(tmp_path, content), row, field="rows")
    assert caught.value.field == "rows"


@pytest.mark.parametrize(("data", "problem"), [(None, "No such file"), (b"\xff\xfe\x00", "it is not UTF-8")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes | None, problem: str) -> None:
    file = tmp_path / "lines"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(InvalidRequest, match=f"cannot read {file}: {problem}"):
        read_texts(file, field="x")
    with pytest.raises(InvalidRequest, match=f"cannot read {file}: {problem}"):
        read_rows(file, row, field="x")
