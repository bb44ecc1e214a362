"""Checkpoints and torch files are opened alike, and faults are told of the files that the user has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sluice.compression.source import Source, open_source
from sluice.domain.errors import InvalidRequest
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch


@pytest.fixture
def loose(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint as a state dict, with configuration and tokenizer beside it."""
    folder = shutil.copytree(checkpoint, tmp_path / "loose")
    torch.save(load_file(folder / "model.safetensors"), folder / "original.pt")
    (folder / "model.safetensors").unlink()
    return folder / "original.pt"


def opened(path: Path, tmp_path: Path, *, allow_pickle: bool = False) -> Source:
    return open_source(path, tmp_path / "staging", allow_pickle=allow_pickle)


def state(source: Source) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in source.model.state_dict().items()}


def refusal(path: Path, tmp_path: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        opened(path, tmp_path)
    assert "staging" not in caught.value.message
    return caught.value.message


def test_a_state_dict_is_the_checkpoint_it_was_saved_from(checkpoint: Path, loose: Path, tmp_path: Path) -> None:
    direct, from_file = opened(checkpoint, tmp_path), opened(loose, tmp_path)
    assert state(direct) == state(from_file)
    assert direct.checkpoint.labels == from_file.checkpoint.labels == tiny.LABELS


def test_a_trusted_module_is_the_checkpoint_it_was_saved_from(checkpoint: Path, loose: Path, tmp_path: Path) -> None:
    direct = opened(checkpoint, tmp_path)
    torch.save(direct.model, loose)
    (loose.parent / "config.json").unlink()
    assert state(opened(loose, tmp_path, allow_pickle=True)) == state(direct)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere", tmp_path) == f"{tmp_path / 'nowhere'} does not exist"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_what_must_lie_beside_a_state_dict_is_named(loose: Path, tmp_path: Path, name: str) -> None:
    (loose.parent / name).unlink()
    assert refusal(loose, tmp_path).startswith(f"{loose.parent / name} is missing")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(loose: Path, tmp_path: Path, value: float) -> None:
    weights = torch.load(loose, weights_only=True)
    weights["classifier.bias"][0] = value
    torch.save(weights, loose)
    assert refusal(loose, tmp_path) == f"{loose} holds NaN or infinity in 'classifier.bias'"


def test_labels_that_disagree_with_the_head_are_told(loose: Path, tmp_path: Path) -> None:
    tiny.edit(loose.parent / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    assert refusal(loose, tmp_path).startswith(f"{loose} does not fit config.json: classifier.bias is (4,)")


def test_a_state_dict_of_another_model_is_told(loose: Path, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(2, 2)}, loose)
    assert refusal(loose, tmp_path).startswith(f"{loose} does not fit config.json: ")


def test_truncated_weights_of_a_directory_are_told(checkpoint: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert refusal(broken, tmp_path).startswith(f"{file} is truncated or damaged")


def test_a_decoder_is_refused_with_the_list_of_what_is_known(tmp_path: Path) -> None:
    decoder = tiny.write(tmp_path / "decoder", "qwen2")
    assert "is of type qwen2; quantization knows bert, camembert, distilbert" in refusal(decoder, tmp_path)
