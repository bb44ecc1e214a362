"""Texts to calibrate with and examples to evaluate on: what is none is told by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.compression.calibration import TextReader
from sluice.compression.examples import Examples, read_examples
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from tests.unit.engine import sentences, tiny

pytestmark = pytest.mark.torch


def written(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "lines"
    file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("plain", "line 1: is no JSON: Expecting value"),
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
    assert (examples.texts, examples.labels) == (("a", "b"), ("yes", "no"))


def test_where_nothing_is_labelled_examples_are_texts(tmp_path: Path) -> None:
    for content in ("a\n\nb\n", '{"text": "a", "label": "yes"}\n{"text": "b"}\n'):
        assert read_examples(written(tmp_path, content), ()) == Examples(("a", "b"))


def test_a_reader_gives_each_text_unpadded_and_cut_where_the_model_ends(checkpoint: Path) -> None:
    texts = ("ok", tiny.TOO_LONG, "thanks")
    seen: list[int] = []
    reader = TextReader(open_checkpoint(checkpoint), texts, on_text=seen.append)
    shapes = []
    while (tokens := reader.get_next()) is not None:
        assert set(tokens) == {"input_ids", "attention_mask"}
        assert tokens["input_ids"].shape == tokens["attention_mask"].shape
        assert tokens["attention_mask"].all()
        shapes.append(tokens["input_ids"].shape)
    assert shapes[1] == (1, tiny.LONGEST)
    assert shapes[0][1] < shapes[1][1] > shapes[2][1]
    reader.set_range(2, 3)
    assert reader.get_next() is not None
    assert reader.get_next() is None
    assert (len(reader), seen) == (3, [1, 2, 3, 3])


def test_a_reader_reads_as_the_checkpoint_does_and_leaves_out_what_has_no_token(tmp_path: Path) -> None:
    embedder = tiny.write_base(tmp_path / "mine", "bert")
    tiny.edit(embedder / "tokenizer.json", post_processor=None)
    sentences.add_pooling(sentences.add_modules(embedder), "mean")
    sentences.dump(embedder / "sentence_bert_config.json", {"max_seq_length": 3, "do_lower_case": True})
    reader = TextReader(open_checkpoint(embedder), ("OK", "", "ok", "zzzzz"), on_text=lambda _: None)
    rows = [tokens["input_ids"].tolist() for _ in range(3) if (tokens := reader.get_next()) is not None]
    assert (len(reader), reader.get_next()) == (3, None)
    assert rows[0] == rows[1]
    assert len(rows[2][0]) == 3
