"""A checkpoint in a single file: what went in comes out, once, and nowhere else than in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sluice.compression.package import FORMAT, pack, unpack, write_empty_weights
from sluice.domain.errors import InvalidRequest

pytestmark = pytest.mark.torch
CONTENT = {"config.json": b"{}", "onnx/model_int8.onnx": bytes(range(256)), "empty": b""}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    pack(folder, tmp_path / "quantized.pt")
    return tmp_path / "quantized.pt"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_packed_comes_out_whole(package: Path, tmp_path: Path) -> None:
    folder = unpack(package, tmp_path / "cache")
    assert files(folder) == CONTENT
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_the_same_files_make_the_same_package_under_any_name(package: Path, tmp_path: Path) -> None:
    pack(tmp_path / "made", tmp_path / "other.pt")
    assert (tmp_path / "other.pt").read_bytes() == package.read_bytes()


def test_a_package_is_unpacked_once_and_another_beside_it(package: Path, tmp_path: Path) -> None:
    first = unpack(package, tmp_path / "cache")
    (first / "mark").touch()
    assert unpack(package, tmp_path / "cache") == first
    assert (first / "mark").exists()
    (tmp_path / "made" / "config.json").write_bytes(b"{ }")
    pack(tmp_path / "made", package)
    assert unpack(package, tmp_path / "cache") != first


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "onnx/../../outside", ".", "", "nul\0byte", 7])
def test_a_file_that_leads_out_of_the_cache_is_refused(tmp_path: Path, name: Any) -> None:
    file = tmp_path / "evil.pt"
    torch.save({"format": FORMAT, "files": {name: torch.zeros(3, dtype=torch.uint8)}}, file)
    with pytest.raises(InvalidRequest, match="which is no file of a checkpoint"):
        unpack(file, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("data", [{}, {"files": {}}, {"a": torch.ones(1)}, {"format": FORMAT}, [1]])
def test_another_torch_file_is_no_package(tmp_path: Path, data: object) -> None:
    torch.save(data, tmp_path / "other.pt")
    with pytest.raises(InvalidRequest, match=r"other\.pt is no quantized checkpoint") as caught:
        unpack(tmp_path / "other.pt", tmp_path / "cache")
    assert caught.value.field == "checkpoint"


def test_a_truncated_package_is_none(package: Path, tmp_path: Path) -> None:
    package.write_bytes(package.read_bytes()[:-300])
    with pytest.raises(InvalidRequest, match="is no quantized checkpoint"):
        unpack(package, tmp_path / "cache")


@pytest.mark.parametrize("place", [0, 100, 255])
def test_a_package_whose_bytes_were_changed_is_refused(package: Path, tmp_path: Path, place: int) -> None:
    data = bytearray(package.read_bytes())
    data[data.index(CONTENT["onnx/model_int8.onnx"]) + place] ^= 1
    package.write_bytes(data)
    with pytest.raises(InvalidRequest, match=f"{package} is damaged: .* in it is not what was written") as caught:
        unpack(package, tmp_path / "cache")
    assert caught.value.field == "checkpoint"
    assert not (tmp_path / "cache").exists()


def test_a_package_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        unpack(tmp_path / "gone.pt", tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(package: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InvalidRequest, match=r"quantized\.pt cannot be unpacked into") as caught:
        unpack(package, tmp_path / "cache")
    assert caught.value.field == "cache"


def test_empty_weights_are_a_safetensors_file(tmp_path: Path) -> None:
    write_empty_weights(tmp_path)
    assert load_file(tmp_path / "model.safetensors") == {}
