"""Bad input to the tool, by its command line: one line that names the file at fault, and nothing made or replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sluice.cli.main import main
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
WEIGHTS = "model.safetensors"
Damage = Callable[[Path], Path]
"""Breaks the checkpoint directory that it is given, and returns what is then to be quantized."""


def as_file(path: Path, change: Callable[[dict[str, torch.Tensor]], object] = lambda state: None) -> Path:
    """The weights as `original.pt`, changed, in the place of the safetensors file."""
    state = load_file(path / WEIGHTS)
    change(state)
    (path / WEIGHTS).unlink()
    torch.save(state, path / "original.pt")
    return path / "original.pt"


def in_directory(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(path: Path) -> Path:
        state = load_file(path / WEIGHTS)
        change(state)
        save_file(state, path / WEIGHTS, metadata={"format": "pt"})
        return path

    return damage


def bytes_of(name: str, change: Callable[[bytes], bytes], *, packed: bool = False) -> Damage:
    def damage(path: Path) -> Path:
        source = as_file(path) if packed else path
        (path / name).write_bytes(change((path / name).read_bytes()))
        return source

    return damage


def without(name: str, *, packed: bool = False) -> Damage:
    def damage(path: Path) -> Path:
        source = as_file(path) if packed else path
        (path / name).unlink()
        return source

    return damage


def labelled(*, packed: bool = False) -> Damage:
    def damage(path: Path) -> Path:
        tiny.edit(path / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
        return as_file(path) if packed else path

    return damage


def something_else(name: str, data: bytes) -> Damage:
    def damage(path: Path) -> Path:
        (path / name).write_bytes(data)
        return path / name

    return damage


def poison(state: dict[str, Any]) -> None:
    state["classifier.bias"][1] = float("nan")


def last_bytes_lost(data: bytes) -> bytes:
    return data[:-200]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


BAD: dict[str, tuple[Damage, str]] = {
    "truncated weights": (bytes_of(WEIGHTS, last_bytes_lost), f"{WEIGHTS} is truncated or damaged"),
    "truncated file": (bytes_of("original.pt", last_bytes_lost, packed=True), "original.pt is truncated or damaged"),
    "tampered header": (
        bytes_of(WEIGHTS, lambda data: data.replace(b'"F32"', b'"F16"', 1)),
        f"{WEIGHTS} is truncated or damaged",
    ),
    "tampered file": (
        bytes_of("original.pt", lambda data: data.replace(b"storage", b"stOrage", 1), packed=True),
        "original.pt is damaged: original/data.pkl in it is not what was written",
    ),
    "tampered numbers": (
        bytes_of("original.pt", lambda data: flipped(data, len(data) // 2), packed=True),
        "original.pt is damaged: original/data/",
    ),
    "no tokenizer": (without("tokenizer.json"), "tokenizer.json is missing"),
    "no tokenizer beside a file": (without("tokenizer.json", packed=True), "tokenizer.json is missing"),
    "no configuration": (without("config.json"), "config.json is missing"),
    "no configuration beside a file": (without("config.json", packed=True), "config.json is missing"),
    "labels that disagree with the head": (labelled(), f"{WEIGHTS} does not fit config.json: classifier.bias is (4,)"),
    "labels that disagree with a file's head": (
        labelled(packed=True),
        "original.pt does not fit config.json: classifier.bias is (4,) and should be (2,)",
    ),
    "words": (something_else("words.pt", b"just words"), "words.pt is no torch file"),
    "nothing": (something_else("empty.pt", b""), "empty.pt is no torch file"),
    "a picture": (something_else("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(64)), "picture.png is no torch file"),
    "no model but a list": (
        lambda path: torch.save([1, 2], path / "list.pt") or path / "list.pt",
        "list.pt is no model: it holds neither a state dict nor a module",
    ),
    "NaN": (in_directory(poison), f"{WEIGHTS} holds NaN or infinity in 'classifier.bias'"),
    "NaN in a file": (lambda path: as_file(path, poison), "original.pt holds NaN or infinity in 'classifier.bias'"),
}


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["quantize", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("output", ["out", "out.pt"])
def test_bad_input_is_one_line_that_names_the_file_and_replaces_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, output: str
) -> None:
    damage, complaint = BAD[name]
    former = tmp_path / "result" / output
    if former.suffix:
        former.parent.mkdir()
        former.write_bytes(b"what is served today")
    else:
        shutil.copytree(checkpoint, former)
    source = damage(shutil.copytree(checkpoint, tmp_path / "mine"))
    before = {path: path.read_bytes() for path in former.parent.rglob("*") if path.is_file()}
    line = refusal(capsys, "--input_model", str(source), "--output_model", str(former), "--force")
    assert complaint in line
    assert str(tmp_path / "mine") in line
    assert {path: path.read_bytes() for path in former.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [(["--bits", "3"], "--bits: 3 is none of 8, 4"), (["--prune", "1.5"], "--prune: 1.5 is no fraction")],
)
def test_what_cannot_be_meant_names_the_option_and_makes_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    usual = ["--input_model", str(checkpoint), "--output_model", str(tmp_path / "out")]
    assert complaint in refusal(capsys, *usual, *words)
    assert list(tmp_path.iterdir()) == []


def test_texts_longer_than_the_models_positions_are_cut(checkpoint: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    rows = [{"text": text, "label": tiny.LABELS[0]} for text in (tiny.TOO_LONG, "ok", tiny.TOO_LONG * 2)]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["--calibration", str(texts), "--evaluate", str(texts)]
    output = tmp_path / "out"
    assert main(["quantize", "--input_model", str(checkpoint), "--output_model", str(output), *words]) == 0
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    # Both long texts begin alike, and so are one text to the model.
    assert report["before"]["accuracy"] in (0.0, 1 / 3, 2 / 3, 1.0)
    assert (report["examples"], report["activations"]) == (3, "int8, static by minmax")
