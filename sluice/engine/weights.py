"""A checkpoint's weight files: which they are, whether they are whole, and a fingerprint that changes with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePath

import torch
from safetensors import SafetensorError, safe_open

from sluice.engine.fault import fault, one_line

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_BLOCK_BYTES = 1 << 20


def weight_files(path: Path) -> list[Path]:
    """The files that hold the weights of checkpoint `path`, one or the shards of its index, in order of name.

    Raises InvalidRequest, field `checkpoint`, when one is missing or the index is none. Weights are read from
    safetensors files only: a pickle may run code when it is opened.
    """
    names = _shards(path) if (path / INDEX).is_file() else [WEIGHTS]
    for name in names:
        if not (path / name).is_file():
            raise fault(path, name, "is missing; weights are read from safetensors files only")
    return [path / name for name in names]


def check_weights(path: Path) -> None:
    """Read all weights. Raises InvalidRequest, field `checkpoint`, unless they are there, whole and finite."""
    for file in weight_files(path):
        try:
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():  # noqa: SIM118  safe_open is no mapping
                    if not _is_finite(opened.get_tensor(key)):
                        raise fault(path, file.name, f"holds NaN or infinity in '{key}'")
        except SafetensorError as error:
            raise fault(path, file.name, f"is truncated or damaged: {one_line(error)}") from error


def fingerprint(path: Path) -> str:
    """A SHA-256 in hexadecimal of `config.json` and all weight files: what a model computes depends on nothing else."""
    digest = hashlib.sha256()
    for file in (path / "config.json", *weight_files(path)):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _shards(path: Path) -> list[str]:
    try:
        names = sorted({str(name) for name in json.loads((path / INDEX).read_text())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise fault(path, INDEX, f"is no index: {one_line(error)}") from error
    for name in names:
        if PurePath(name).name != name:
            raise fault(path, INDEX, f"names '{name}', which lies outside of the checkpoint")
    return names


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # Floats of one byte have no test of their own.
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())
