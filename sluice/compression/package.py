"""A quantized checkpoint as one file, `quantized.pt`: a torch file of bytes that nothing has to be unpickled for.

The file is a dict: `format`, and `files`, each a tensor of uint8 under its name. Its weights are those of the ONNX
graph alone, so in their place stands a safetensors file without tensors, whose fingerprint the graph is stamped with.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from sluice.compression.archive import damaged_part
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.checkpoint.weights import WEIGHTS

FORMAT = "sluice-quantized-1"
_BLOCK_BYTES = 1 << 20


def is_package(content: Any) -> bool:
    """Whether what torch read from a file is a quantized checkpoint."""
    return isinstance(content, Mapping) and content.get("format") == FORMAT


def write_empty_weights(directory: Path) -> None:
    """Put a safetensors file without tensors where a checkpoint's weights would be; its metadata says why."""
    header = json.dumps({"__metadata__": {"format": "pt", "weights": "in the ONNX graph only"}}).encode()
    padded = header + b" " * (-len(header) % 8)
    Path(directory, WEIGHTS).write_bytes(struct.pack("<Q", len(padded)) + padded)


def pack(directory: Path, file: Path) -> None:
    """Write all files of `directory` into `file`; the same files make the same bytes."""
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    files = {name: torch.from_numpy(np.fromfile(directory / name, dtype=np.uint8)) for name in names}
    # Given a path, torch puts the file's name into its archive.
    with file.open("wb") as opened:
        torch.save({"format": FORMAT, "files": files}, opened)


def unpack(file: Path, cache: Path) -> Path:
    """The directory that holds the files of `file`, below `cache`, named by the SHA-256 of the file.

    It is written once, whole or not at all. Raises InvalidRequest, field `checkpoint`, when `file` is no quantized
    checkpoint or is damaged, and field `cache` when the cache cannot be written.
    """
    directory = cache / f"package-{_digest(file)}"
    if not directory.is_dir():
        files = _read(file)
        try:
            _write(files, directory)
        except OSError as error:
            problem = f"{file.name} cannot be unpacked into {directory}: {one_line(error)}"
            raise InvalidRequest(problem, field="cache") from error
    return directory


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        damaged = damaged_part(file)
    except Exception as error:
        raise InvalidRequest(f"{file} is no quantized checkpoint: {one_line(error)}", field="checkpoint") from error
    files = content.get("files") if is_package(content) else None
    if not isinstance(files, Mapping):
        raise InvalidRequest(f"{file} is no quantized checkpoint; tools/quantize.py makes one", field="checkpoint")
    for name, data in files.items():
        if not _is_file_of_ours(name, data):
            raise InvalidRequest(f"{file} holds {name!r}, which is no file of a checkpoint", field="checkpoint")
    if damaged is not None:
        raise InvalidRequest(f"{file} is damaged: {damaged} in it is not what was written", field="checkpoint")
    return dict(files)


def _is_file_of_ours(name: object, data: object) -> bool:
    if not isinstance(name, str) or not isinstance(data, torch.Tensor) or data.dtype is not torch.uint8:
        return False
    path = PurePosixPath(name)
    return path.name != "" and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _write(files: Mapping[str, torch.Tensor], directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".unpack-"))
    try:
        for name, data in files.items():
            (begun / name).parent.mkdir(parents=True, exist_ok=True)
            data.numpy().tofile(begun / name)
        begun.rename(directory)
    except OSError:
        # Another worker may have been faster; what it wrote is the same.
        if not directory.is_dir():
            raise
    finally:
        shutil.rmtree(begun, ignore_errors=True)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}", field="checkpoint") from error
    return digest.hexdigest()
