"""Files of texts to learn from and to be measured on, and what is wrong with one, told by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.distillation.texts import Text, hold_out, read_texts, without
from sluice.domain.errors import InvalidRequest

LABELS = ("no", "yes")


def written(tmp_path: Path, *rows: Any) -> Path:
    file = tmp_path / "texts"
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def test_lines_are_texts_and_blank_ones_are_passed_over(tmp_path: Path) -> None:
    file = written(tmp_path, "one", "", "  ", "two, with a comma")
    assert read_texts(file, field="texts", labels=LABELS) == [Text("one"), Text("two, with a comma")]


def test_objects_may_have_a_label_and_a_complexity(tmp_path: Path) -> None:
    file = written(tmp_path, {"text": "a", "label": "yes", "complexity": 3}, {"text": "b"}, {"text": "c", "more": 1})
    assert read_texts(file, field="texts", labels=LABELS) == [Text("a", 1, 3), Text("b"), Text("c")]


def test_labels_are_not_read_where_there_are_none_to_choose_from(tmp_path: Path) -> None:
    assert read_texts(written(tmp_path, {"text": "a", "label": "?"}), field="texts") == [Text("a")]


@pytest.mark.parametrize(
    ("complexity", "bucket"), [(0, 0), (7, 7), (0.0, 0), (0.124, 0), (0.125, 1), (0.99, 7), (1.0, 7), (None, None)]
)
def test_a_complexity_is_a_share_or_a_bucket(tmp_path: Path, complexity: float | None, bucket: int | None) -> None:
    (text,) = read_texts(written(tmp_path, {"text": "a", "complexity": complexity}), field="texts")
    assert text.bucket == bucket


@pytest.mark.parametrize(
    ("rows", "labelled", "complaint"),
    [
        (({"text": "a"}, {"text": " "}), False, "line 2: 'text' is blank"),
        (({"text": "a"}, {"text": 3}), False, "line 2: 'text' is missing, or no text"),
        (({"text": "a", "label": "maybe"},), False, "line 1: the label 'maybe' is none of the teacher's 2"),
        (({"text": "a", "label": 1},), False, "line 1: 'label' is missing, or no text"),
        (({"text": "a"},), True, "line 1: 'label' is missing, or no text"),
        (({"text": "a", "complexity": 8},), False, "line 1: complexity 8 is neither a share from 0.0 to 1.0 nor"),
        (({"text": "a", "complexity": -0.1},), False, "line 1: complexity -0.1 is neither"),
        (({"text": "a", "complexity": True},), False, "line 1: complexity True is neither"),
        (({"text": "a"}, "plain"), False, "line 2: is no JSON"),
        (("plain",), True, "line 1: is no JSON"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_line(
    tmp_path: Path, rows: tuple[Any, ...], labelled: bool, complaint: str
) -> None:
    file = written(tmp_path, *rows)
    with pytest.raises(InvalidRequest) as caught:
        read_texts(file, field="evaluate", labels=LABELS, labelled=labelled)
    assert caught.value.field == "evaluate"
    assert f"{file}, {complaint}" in caught.value.message


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_texts_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "texts"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidRequest, match=str(file)):
        read_texts(file, field="texts")


def test_what_is_held_out_is_not_learned_from() -> None:
    texts = [Text(f"text {number // 2}") for number in range(200)]
    held_out, rest = hold_out(texts, seed=1)
    assert len(held_out) == 10
    assert len(rest) == 180
    assert not {one.text for one in held_out} & {one.text for one in rest}
    assert hold_out(texts, seed=1) == (held_out, rest)
    assert hold_out(texts, seed=2) != (held_out, rest)


def test_at_least_one_text_is_held_out_and_never_more_than_a_thousand() -> None:
    assert len(hold_out([Text("a"), Text("b")], seed=0)[0]) == 1
    assert len(hold_out([Text(str(number)) for number in range(20_000)], seed=0)[0]) == 1000


def test_texts_that_are_measured_are_left_out_whatever_their_label() -> None:
    assert without([Text("a", 1), Text("b"), Text("a")], [Text("a", 0)]) == [Text("b")]
