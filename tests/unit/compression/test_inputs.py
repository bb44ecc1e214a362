"""Texts to calibrate with and examples to evaluate on are read, and what is none is told by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.compression.calibration import TextReader, read_texts
from sluice.compression.examples import read_examples
from sluice.errors import InvalidRequest
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch


def written(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "lines"
    file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("where is it?\n\n  \nthank you\n", ("where is it?", "thank you")),
        ('{"text": "a"}\n\n{"text": "b", "label": "x"}\n', ("a", "b")),
        ("包裹", ("包裹",)),
    ],
)
def test_texts_are_lines_or_json_lines(tmp_path: Path, content: str, texts: tuple[str, ...]) -> None:
    assert read_texts(written(tmp_path, content)) == texts


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no text"),
        (" \n\n", "holds no text"),
        ('{"text": "a"}\nplain\n', "line 2, is no JSON"),
        ('{"text": "a"}\n\n{"label": "a"}\n', "line 3, has no text"),
        ('{"text": 1}', "line 1, has no text"),
        ('{"text": "a"}\n[1]', "line 2, has no text"),
    ],
)
def test_what_is_no_text_is_told_by_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        read_texts(written(tmp_path, content))
    assert caught.value.field == "calibration"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no example"),
        ("plain", "line 1: Expecting value"),
        ("[]", "line 1: is no JSON object"),
        ('{"text": "a", "label": "yes"}\n{"text": "a"}', "line 2: 'label' is missing, or no text"),
        ('\n{"text": "a", "label": "maybe"}', "line 2: the label 'maybe' is none of the model's 2"),
    ],
)
def test_what_is_no_example_is_told_by_line(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint) as caught:
        read_examples(written(tmp_path, content), ("no", "yes"))
    assert caught.value.field == "evaluate"


def test_examples_know_the_place_of_their_label(tmp_path: Path) -> None:
    content = '{"text": "a", "label": "yes"}\n\n{"text": "b", "label": "no", "complexity": 3}\n'
    examples = read_examples(written(tmp_path, content), ("no", "yes"))
    assert (examples.texts, examples.truth) == (("a", "b"), (1, 0))


@pytest.mark.parametrize("data", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "lines"
    if data is not None:
        file.write_bytes(data)
    for read in (read_texts, lambda path: read_examples(path, ("no",))):
        with pytest.raises(InvalidRequest, match=f"{file} cannot be read"):
            read(file)


def test_a_reader_gives_each_text_unpadded_and_cut_where_the_model_ends() -> None:
    texts = ("ok", tiny.TOO_LONG, "thanks")
    reader = TextReader(texts, tiny.tokenizer(), max_tokens=tiny.LONGEST, on_text=lambda _: None)
    shapes = []
    while (tokens := reader.get_next()) is not None:
        assert tokens["input_ids"].shape == tokens["attention_mask"].shape
        assert tokens["attention_mask"].all()
        shapes.append(tokens["input_ids"].shape)
    assert shapes[1] == (1, tiny.LONGEST)
    assert shapes[0][1] < shapes[1][1] > shapes[2][1]
    reader.set_range(2, 3)
    assert reader.get_next() is not None
    assert reader.get_next() is None
    assert len(reader) == 3
