"""A torch file is read as tensors, and nothing in it is run unless that was permitted."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from sluice.compression.package import FORMAT
from sluice.compression.torch_file import read_torch_file
from sluice.domain.errors import InvalidRequest

pytestmark = pytest.mark.torch
STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


class Burglar:
    """Makes a directory when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def saved(tmp_path: Path, content: object, **options: Any) -> Path:
    torch.save(content, tmp_path / "model.pt", **options)
    return tmp_path / "model.pt"


def refusal(file: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_torch_file(file, allow_pickle=False)
    assert caught.value.field == "input_model"
    assert str(file) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{file} ")


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("modern", [True, False])
def test_a_state_dict_is_read_bare_or_as_trainers_wrap_it(tmp_path: Path, wrapper: str | None, modern: bool) -> None:
    content = {wrapper: STATE, "epoch": 3} if wrapper else STATE
    file = saved(tmp_path, content, _use_new_zipfile_serialization=modern)
    read = read_torch_file(file, allow_pickle=False)
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }


def test_tensors_that_share_memory_come_apart(tmp_path: Path) -> None:
    shared = torch.ones(4)
    read = read_torch_file(saved(tmp_path, {"a": shared, "b": shared}), allow_pickle=False)
    assert read["a"].data_ptr() != read["b"].data_ptr()


@pytest.mark.parametrize("modern", [True, False])
def test_a_whole_module_is_refused_and_the_flag_is_named(tmp_path: Path, modern: bool) -> None:
    file = saved(tmp_path, torch.nn.Linear(2, 2), _use_new_zipfile_serialization=modern)
    assert "save its state_dict(), or, if you trust it, add --allow_pickle" in refusal(file)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_nothing_hidden_in_a_file_is_run(tmp_path: Path, how: str) -> None:
    mark = tmp_path / "broken in"
    file = saved(tmp_path, {"a": Burglar(mark)})
    if how == "pickle":
        file.write_bytes(pickle.dumps(Burglar(mark)))
    assert "can run any code" in refusal(file)
    assert not mark.exists()


def test_a_whole_classifier_is_read_when_that_is_permitted(tmp_path: Path, checkpoint: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    file = saved(tmp_path, model)
    read = read_torch_file(file, allow_pickle=True)
    assert type(read) is type(model)


def test_another_module_is_no_classifier_even_when_trusted(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="holds a Linear; a model must be one of transformers'"):
        read_torch_file(saved(tmp_path, torch.nn.Linear(2, 2)), allow_pickle=True)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {1: torch.ones(1)}, torch.ones(2)])
def test_what_is_no_state_dict_is_no_model(tmp_path: Path, content: object) -> None:
    assert refusal(saved(tmp_path, content)).startswith("is no model: ")


def test_a_quantized_file_is_not_quantized_again(tmp_path: Path) -> None:
    assert refusal(saved(tmp_path, {"format": FORMAT, "files": {}})) == "is quantized already"


@pytest.mark.parametrize("data", [b"", b"hello world", b"\x89PNG\r\n"])
def test_a_file_of_another_kind_is_told_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(data)
    assert refusal(tmp_path / "model.pt").startswith("is no torch file")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_told_so(tmp_path: Path, share: float) -> None:
    file = saved(tmp_path, STATE)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    assert refusal(file) == "is truncated or damaged"
