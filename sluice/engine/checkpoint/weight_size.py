"""How much memory a checkpoint's weights take, from the headers of its files: no weight is read."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

# Bytes of one weight by the name of a precision. What is not here computes in what its file holds.
_WIDTHS = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "mixed": 2.0, "fp8": 1.0, "int4": 0.5}
# Precisions in which vectors (norms, biases) stay in fp32, and those of them in which tables that are looked up in and
# heads stay in half precision. Weights that share a scale: a row in fp8, so many in int4, where each also has a zero.
_CAREFUL, _QUANTIZED = {"mixed", "fp8", "int4"}, {"fp8", "int4"}
_LEFT_IN_HALF = ("embed", "head.", "score.", "classifier.")
_INT4_GROUP, _SCALE_BYTES = 64, 4
_HEADER_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100 << 20
_METADATA = "__metadata__"
_MATRIX = 2


def weight_bytes(checkpoint: Path, precision: str) -> int:
    """Bytes of the weights of `checkpoint`, a directory or a packed file, when they are held in `precision`.

    0 if there are none. A file that is no safetensors file counts as large as it is. What a device adds, by padding
    say, is not in it: a backend that is loaded knows better.
    """
    if checkpoint.is_file():
        return checkpoint.stat().st_size
    return sum(_file_bytes(file, precision) for file in checkpoint.rglob("*.safetensors"))


def _file_bytes(file: Path, precision: str) -> int:
    try:
        header = _header(file)
        return sum(_tensor_bytes(name, one, precision) for name, one in header.items() if name != _METADATA)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return file.stat().st_size


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        (length,) = _HEADER_LENGTH.unpack(opened.read(_HEADER_LENGTH.size))
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header: dict[str, Any] = json.loads(opened.read(length))
    return header


def _tensor_bytes(name: str, described: dict[str, Any], precision: str) -> int:
    begin, end = described["data_offsets"]
    held = int(end) - int(begin)
    # Only floats are converted: positions and codes stay as they are.
    if precision not in _WIDTHS or not described["dtype"].startswith(("F", "BF")):
        return held
    shape = [int(length) for length in described["shape"]]
    return math.ceil(_width(name, shape, precision) * math.prod(shape))


def _width(name: str, shape: list[int], precision: str) -> float:
    """Bytes of one weight of a tensor of `shape`, with its part of the scales."""
    if precision in _CAREFUL and len(shape) < _MATRIX:
        return _WIDTHS["fp32"]
    if precision not in _QUANTIZED:
        return _WIDTHS[precision]
    group = shape[-1] if precision == "fp8" else _INT4_GROUP
    if shape[-1] % group or any(part in name for part in _LEFT_IN_HALF):
        return _WIDTHS["mixed"]
    return _WIDTHS[precision] + _SCALE_BYTES / group
