"""How large weights are in memory, told from headers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from sluice.engine.checkpoint.weight_size import weight_bytes

TENSORS = {
    "a": {"dtype": "F32", "shape": [10, 20], "data_offsets": [0, 800]},
    "b": {"dtype": "BF16", "shape": [10], "data_offsets": [800, 820]},
    "positions": {"dtype": "I64", "shape": [5], "data_offsets": [820, 860]},
    "scalar": {"dtype": "F32", "shape": [], "data_offsets": [860, 864]},
    "wide": {"dtype": "F16", "shape": [2, 128], "data_offsets": [864, 1376]},
    "embed_tokens": {"dtype": "F16", "shape": [1, 128], "data_offsets": [1376, 1632]},
}
# In int4 every 64 weights share a scale and a zero of two bytes each, and rows of another length stay as they are.
SIZES = {
    "fp32": 4 * (200 + 10 + 1 + 256 + 128) + 40,
    "bf16": 2 * (200 + 10 + 1 + 256 + 128) + 40,
    "mixed": 2 * (200 + 256 + 128) + 4 * (10 + 1) + 40,
    "fp8": 200 + 10 * 4 + 256 + 2 * 4 + 2 * 128 + 4 * (10 + 1) + 40,
    "int4": 2 * 200 + 128 + 4 * 4 + 2 * 128 + 4 * (10 + 1) + 40,
    "nf3": 1632,
}


def written(file: Path, header: Any, size: int = 1632) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    return file


@pytest.mark.parametrize(("precision", "size"), SIZES.items())
def test_floats_are_as_wide_as_the_precision_and_everything_else_as_it_is(
    tmp_path: Path, precision: str, size: int
) -> None:
    written(tmp_path / "model.safetensors", {"__metadata__": {"format": "pt"}, **TENSORS})
    assert weight_bytes(tmp_path, precision) == size


def test_all_files_of_a_checkpoint_count(tmp_path: Path) -> None:
    for name in ("model-1.safetensors", "model-2.safetensors", "2_Dense/model.safetensors"):
        written(tmp_path / name, {"a": TENSORS["a"]})
    assert weight_bytes(tmp_path, "fp32") == 3 * 800


@pytest.mark.parametrize(
    "content",
    [b"", b"short", struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 5) + b"{nope", struct.pack("<Q", 2) + b"[]"],
)
def test_a_file_that_is_none_is_as_large_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert weight_bytes(tmp_path, "fp32") == len(content)


def test_a_packed_file_is_as_large_as_it_is_and_a_model_without_files_is_nothing(tmp_path: Path) -> None:
    packed = tmp_path / "packed.pt"
    packed.write_bytes(bytes(77))
    assert weight_bytes(packed, "int8") == 77
    assert weight_bytes(Path("identity"), "fp32") == 0


@pytest.mark.parametrize("name", ["support-intent-full", "support-intent-light"])
def test_the_demo_models_are_known_by_what_they_take_and_not_by_their_files(name: str) -> None:
    checkpoint = Path(__file__).resolve().parents[3] / "models" / name
    on_disk = (checkpoint / "model.safetensors").stat().st_size
    # They are kept in bf16, and compute in fp32 on a CPU.
    assert 1.95 < weight_bytes(checkpoint, "fp32") / on_disk < 2.0
