"""What cannot be distilled is refused before any work, by the name of the file or setting, and nothing is left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.distillation.run import distill
from sluice.distillation.settings import Settings
from sluice.domain.errors import InvalidRequest
from tests.unit.distillation import teachers
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
Prepare = Callable[[Path], dict[str, Any]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"layers": None}, "layers"),
        ({"student_config": Path("c")}, "layers"),
        ({"layers": 0}, "layers"),
        ({"epochs": 1, "steps": 1}, "steps"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"save_seconds": 0.0}, "save_seconds"),
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"hidden": -1.0}, "hidden"),
        ({"layers": None, "student_config": Path("c"), "hidden": 1.0}, "hidden"),
        ({"max_loss_points": -1.0}, "max_loss_points"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, Any], field: str) -> None:
    usual: dict[str, Any] = {"teacher": Path("t"), "student": Path("s"), "texts": Path("x"), "layers": 2}
    with pytest.raises(InvalidRequest) as caught:
        Settings(**{**usual, **changes})
    assert caught.value.field == field


def test_epochs_are_counted_in_batches_and_rates_fit_the_beginning() -> None:
    usual: dict[str, Any] = {"teacher": Path("t"), "student": Path("s"), "texts": Path("x"), "batch_size": 10}
    assert Settings(**usual, layers=2).steps_for(101) == 33
    assert Settings(**usual, layers=2, epochs=1).steps_for(100) == 10
    assert Settings(**usual, layers=2, steps=7).steps_for(101) == 7
    assert Settings(**usual, layers=2).rate < Settings(**usual, student_config=Path("c")).rate
    assert Settings(**usual, layers=2, learning_rate=0.5).rate == 0.5


def without_tokenizer(home: Path) -> dict[str, Any]:
    teacher = teachers.write(home / "own")
    (teacher / "tokenizer.json").unlink()
    (teacher / "tokenizer_config.json").unlink()
    return {"teacher": teacher}


def damaged(home: Path) -> dict[str, Any]:
    teacher = teachers.write(home / "own")
    file = teacher / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    return {"teacher": teacher}


def other_labels(home: Path) -> dict[str, Any]:
    teacher = teachers.write(home / "own")
    tiny.edit(teacher / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    return {"teacher": teacher}


def rows(*values: dict[str, Any]) -> Prepare:
    return lambda home: {"texts": teachers.write_rows(home / "rows.jsonl", list(values))}


def config(**content: Any) -> Prepare:
    def prepare(home: Path) -> dict[str, Any]:
        (home / "config.json").write_text(json.dumps(content))
        return {"layers": None, "student_config": home}

    return prepare


def named(**changes: Any) -> Prepare:
    return lambda home: changes


CASES: dict[str, tuple[Prepare, str, str]] = {
    "no teacher": (named(teacher=Path("nowhere")), "teacher", "nowhere is no checkpoint directory"),
    "a teacher without a tokenizer": (without_tokenizer, "checkpoint", "tokenizer.json is missing"),
    "a damaged teacher": (damaged, "checkpoint", "model.safetensors is truncated or damaged"),
    "a head of other labels": (other_labels, "checkpoint", "does not fit config.json: classifier"),
    "no texts": (named(texts=Path("nowhere")), "texts", "nowhere"),
    "one text": (rows({"text": "a"}), "texts", "holds no text beside those to be measured on"),
    "a label of others": (rows({"text": "a", "label": "boredom"}), "texts", "'boredom' is none of the teacher's 4"),
    "nothing to be weighed": (named(alpha=0.5), "alpha", "has a label to be weighed"),
    "nothing to be lost": (named(max_loss_points=1.0), "max_loss_points", "name some by --evaluate"),
    "no examples": (named(evaluate=Path("nowhere")), "evaluate", "nowhere"),
    "too many layers": (named(layers=9), "layers", "the teacher has 5 layers, fewer than 9"),
    "too many tokens": (named(max_tokens=65), "max_tokens", "65 are more than the 64 that both models take"),
    "an unknown device": (named(device="abacus"), "device", "abacus"),
    "no configuration": (config(hidden_size=8), "student_config", "config.json is no configuration of a model"),
    "an unknown shape": (config(model_type="sphinx"), "student_config", "names model_type sphinx"),
    "no classifier": (config(model_type="dinov2"), "student_config", "describes no model for this task"),
    "a shape of no sense": (
        config(model_type="distilbert", dim=10, n_heads=3),
        "student_config",
        "describes no model for this task",
    ),
    "an encoder with a decoder": (
        config(model_type="bart", d_model=16, encoder_layers=1, decoder_layers=1, eos_token_id=3),
        "student_config",
        "an encoder with a decoder",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_by_file_or_setting(case: str, teacher: Path, texts: Path, tmp_path: Path) -> None:
    prepare, field, told = CASES[case]
    home = tmp_path / "home"
    home.mkdir()
    usual: dict[str, Any] = {"teacher": teacher, "texts": texts, "layers": 2, "device": "cpu"}
    settings = Settings(**{**usual, "student": tmp_path / "student", **prepare(home)})
    with pytest.raises(InvalidRequest) as caught:
        distill(settings, lambda stage, done, total, loss=None: None)
    assert told in caught.value.message
    assert caught.value.field == field
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "texts.txt"}


def test_a_shape_whose_vectors_cannot_be_compared_is_refused(texts: Path, tmp_path: Path) -> None:
    teacher = teachers.write(tmp_path / "teacher", "bert", base=True)
    shape = tiny.write_base(tmp_path / "shape", "distilbert")
    tiny.edit(shape / "config.json", dim=16)
    settings = Settings(teacher=teacher, student=tmp_path / "student", texts=texts, student_config=shape)
    with pytest.raises(
        InvalidRequest, match="has vectors of 16 values, and the teacher's, to be compared with, have 32"
    ):
        distill(settings, lambda stage, done, total, loss=None: None)


@pytest.mark.parametrize("place", ["teacher", "teacher/../teacher", "."])
def test_the_teacher_is_never_replaced(texts: Path, tmp_path: Path, place: str) -> None:
    teacher = teachers.write(tmp_path / "home" / "teacher")
    student = tmp_path / "home" / place
    settings = Settings(teacher=teacher, student=student, texts=texts, layers=2, overwrite=True)
    with pytest.raises(InvalidRequest, match="holds the input") as caught:
        distill(settings, lambda stage, done, total, loss=None: None)
    assert caught.value.field == "student"


def test_a_student_that_is_there_is_replaced_only_when_told_so(teacher: Path, texts: Path, tmp_path: Path) -> None:
    student = shutil.copytree(teacher, tmp_path / "student")
    (student / "stale.txt").touch()
    settings: dict[str, Any] = {"teacher": teacher, "student": student, "texts": texts, "layers": 1, "steps": 1}
    with pytest.raises(InvalidRequest, match="exists; name another, or add --overwrite to replace it") as caught:
        distill(Settings(**settings), lambda stage, done, total, loss=None: None)
    assert caught.value.field == "student"
    distill(Settings(**settings, overwrite=True), lambda stage, done, total, loss=None: None)
    assert not (student / "stale.txt").exists()
    assert json.loads((student / "config.json").read_text())["n_layers"] == 1


def test_a_place_that_cannot_be_written_is_named(teacher: Path, texts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    student = tmp_path / "file" / "student"
    settings = Settings(teacher=teacher, student=student, texts=texts, layers=1, steps=1, device="cpu")
    with pytest.raises(InvalidRequest, match="student cannot be written") as caught:
        distill(settings, lambda stage, done, total, loss=None: None)
    assert caught.value.field == "student"
