"""Taught models learn from fresh messages, read as their teacher reads; making a model needs no mesh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from sluice.training import corpus
from sluice.training.dataset import Tick
from sluice.training.material import Material
from sluice.training.recipe import RECIPES

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[3]


def test_messages_are_written_once_and_fresh_ones_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def announce(what: str) -> Tick:
        told.append(what)
        return lambda count: None

    monkeypatch.setattr(corpus, "TOKENIZER_MESSAGES", 50)
    material = Material(5, scale=0.0001, workers=1, announce=announce)
    own, tokenizer = material.for_model(None)
    tokenizer.save_pretrained(tmp_path)
    again, _ = material.for_model(None)
    assert again is own
    fresh, read_by = material.for_model(tmp_path)
    assert told == ["writing texts", "writing fresh texts"]
    shared = {message.text for message in own} & {message.text for message in fresh}
    assert len(shared) < len(fresh) / 4
    assert read_by("where is my parcel?")["input_ids"] == tokenizer("where is my parcel?")["input_ids"]


def test_whoever_teaches_is_made_before_whoever_learns() -> None:
    keys = list(RECIPES)
    for key, recipe in RECIPES.items():
        if recipe.taught is not None:
            assert keys.index(recipe.taught.teacher) < keys.index(key)
    assert RECIPES["light"].taught is not None
    assert RECIPES["light"].taught.teacher == "full"


def test_making_a_model_imports_nothing_of_the_mesh() -> None:
    command = [sys.executable, "-m", "tests.contract.import_probe", "sluice.training.run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])["modules"]}
    assert "torch" in loaded
    assert loaded & {"grpc", "pydantic", "onnx", "onnxruntime", "opentelemetry"} == set()
