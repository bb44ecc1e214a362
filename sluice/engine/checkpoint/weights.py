"""A checkpoint's weight files: which they are, whether they are whole, and a fingerprint that changes with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from sluice.engine.checkpoint.errors import checkpoint_error, one_line
from sluice.engine.checkpoint.task import CONFIG

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8
# A multiple of every type's size, so that no number lies in two blocks.
_BLOCK_BYTES = 1 << 20
# Of each type of floats, the unsigned integers of its size and the bits that are all set in NaN and infinity alone.
_FLOATS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F),
    "F8_E8M0": (np.uint8, 0xFF),
}


def weight_files(path: Path) -> list[Path]:
    """The files that hold the weights of checkpoint `path`, one or the shards of its index, in order of name.

    Raises InvalidRequest, field `checkpoint`, when one is missing or the index is none. Weights are read from
    safetensors files only: a pickle may run code when it is opened.
    """
    names = _shards(path) if (path / INDEX).is_file() else [WEIGHTS]
    for name in names:
        if not (path / name).is_file():
            raise checkpoint_error(path, name, "is missing; weights are read from safetensors files only")
    return [path / name for name in names]


def stored_type(path: Path) -> torch.dtype:
    """The type that checkpoint `path` stores floats in; fp32 where there are none. Raises as `weight_files` does."""
    with safe_open(weight_files(path)[0], framework="pt") as opened:
        types = (opened.get_tensor(name).dtype for name in sorted(opened.keys()))
        return next((kind for kind in types if kind.is_floating_point), torch.float32)


def fingerprint(path: Path) -> str:
    """A SHA-256 in hexadecimal of `config.json` and all weight files: what a model computes depends on nothing else.

    Everything is read once, in small blocks, so that memory does not grow with the model. Raises InvalidRequest, field
    `checkpoint`, unless the weights are there, whole and finite.
    """
    digest = hashlib.sha256()
    config = (path / CONFIG).read_bytes()
    digest.update(f"{CONFIG} {len(config)}\n".encode() + config)
    for file in weight_files(path):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        for block in _checked(path, file):
            digest.update(block)
    return digest.hexdigest()


def _checked(path: Path, file: Path) -> Iterator[memoryview]:
    """All bytes of a safetensors file in their order, in blocks that are valid until the next; see `fingerprint`."""
    buffer = bytearray(_BLOCK_BYTES)
    try:
        # Refuses whatever does not fit together: lengths, shapes, gaps, types.
        with safe_open(file, framework="pt"):
            pass
        with file.open("rb") as opened:
            head = opened.read(_LENGTH_BYTES)
            head += opened.read(int.from_bytes(head, "little"))
            yield memoryview(head)
            for name, kind, size in _tensors(head[_LENGTH_BYTES:]):
                for start in range(0, size, _BLOCK_BYTES):
                    block = memoryview(buffer)[: min(_BLOCK_BYTES, size - start)]
                    if opened.readinto(block) != len(block):
                        raise checkpoint_error(path, file.name, "was cut short while it was read")
                    if not _is_finite(block, kind):
                        raise checkpoint_error(path, file.name, f"holds NaN or infinity in '{name}'")
                    yield block
    except SafetensorError as error:
        raise checkpoint_error(path, file.name, f"is truncated or damaged: {one_line(error)}") from error


def _tensors(header: bytes) -> list[tuple[str, str, int]]:
    """Name, type and bytes of each tensor, in the order in which they lie in the file."""
    entries: dict[str, Any] = json.loads(header)
    entries.pop("__metadata__", None)
    spans = sorted((*entry["data_offsets"], name, entry["dtype"]) for name, entry in entries.items())
    return [(name, kind, end - begin) for begin, end, name, kind in spans]


def _is_finite(block: memoryview, kind: str) -> bool:
    if kind not in _FLOATS:
        return True
    unsigned, mask = _FLOATS[kind]
    return bool((np.frombuffer(block, unsigned) & unsigned(mask)).max() != mask)


def _shards(path: Path) -> list[str]:
    try:
        names = sorted({str(name) for name in json.loads((path / INDEX).read_text())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise checkpoint_error(path, INDEX, f"is no index: {one_line(error)}") from error
    for name in names:
        if PurePath(name).name != name:
            raise checkpoint_error(path, INDEX, f"names '{name}', which lies outside of the checkpoint")
    return names
