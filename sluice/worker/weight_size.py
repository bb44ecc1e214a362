"""How much memory a checkpoint's weights take, from the headers of its files: no weight is read."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

# Bytes of one weight by the name of a precision. What is not here computes in what its file holds.
_WIDTHS = {"fp32": 4, "mixed": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
_HEADER_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100 << 20
_METADATA = "__metadata__"


def weight_bytes(checkpoint: Path, precision: str) -> int:
    """Bytes of the weights of `checkpoint`, a directory or a packed file, when they are held in `precision`.

    0 if there are none. A file that is no safetensors file counts as large as it is.
    """
    if checkpoint.is_file():
        return checkpoint.stat().st_size
    return sum(_file_bytes(file, _WIDTHS.get(precision)) for file in checkpoint.rglob("*.safetensors"))


def _file_bytes(file: Path, width: int | None) -> int:
    try:
        header = _header(file)
        return sum(_tensor_bytes(one, width) for name, one in header.items() if name != _METADATA)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return file.stat().st_size


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        (length,) = _HEADER_LENGTH.unpack(opened.read(_HEADER_LENGTH.size))
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header: dict[str, Any] = json.loads(opened.read(length))
    return header


def _tensor_bytes(described: dict[str, Any], width: int | None) -> int:
    begin, end = described["data_offsets"]
    held = int(end) - int(begin)
    # Only floats are converted: positions and codes stay as they are.
    if width is None or not described["dtype"].startswith(("F", "BF")):
        return held
    return width * math.prod(int(length) for length in described["shape"])
