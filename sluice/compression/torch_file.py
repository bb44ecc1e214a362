"""A model in one torch file: a state dict, which holds numbers only, or a pickled module, which may hold anything."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sluice.compression.archive import damaged_part
from sluice.compression.package import is_package
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line

_WRAPPERS = ("state_dict", "model_state_dict")


def read_torch_file(file: Path, *, allow_pickle: bool) -> dict[str, Tensor] | Any:
    """The state dict in `file`, or the transformers model if a whole one was pickled and `allow_pickle` permits it.

    Nothing in the file is run unless `allow_pickle`: torch then reads tensors and plain containers only. Raises
    InvalidRequest, naming the file, when it holds neither, is damaged, or would have to be unpickled.
    """
    damaged = damaged_part(file)
    if damaged is not None:
        raise _wrong(file, f"is damaged: {damaged} in it is not what was written; get it, or save it, once more")
    content = _load(file, allow_pickle=allow_pickle)
    if is_package(content):
        raise _wrong(file, "is quantized already")
    if isinstance(content, PreTrainedModel):
        return content.float()
    if isinstance(content, torch.nn.Module):
        raise _wrong(file, f"holds a {type(content).__name__}; a model must be one of transformers' own")
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise _wrong(file, "is no model: it holds neither a state dict nor a module")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        raise _wrong(file, "is no model: not everything in it is a tensor with a name")
    return {name: value.detach().clone().contiguous() for name, value in content.items()}


def _load(file: Path, *, allow_pickle: bool) -> Any:
    try:
        with warnings.catch_warnings():
            # Of the pickle's protocol, which is of no consequence to a file that is refused or was trusted.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        if not allow_pickle and _is_pickle(file):
            problem = "holds more than tensors, such as a whole module, and unpickling that can run any code"
            raise _wrong(file, f"{problem}; save its state_dict(), or, if you trust it, add --allow_pickle") from error
        raise _wrong(file, "is no torch file, or is damaged") from error
    except OSError as error:
        raise _wrong(file, f"cannot be read: {error.strerror or one_line(error)}") from error
    except Exception as error:
        kind = "is truncated or damaged" if _starts_as_zip(file) else "is no torch file"
        raise _wrong(file, kind) from error


def _is_pickle(file: Path) -> bool:
    # torch's own files are archives; those of old and plain pickles begin with the mark of their protocol.
    return zipfile.is_zipfile(file) or file.read_bytes()[:1] == pickle.PROTO


def _starts_as_zip(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"PK"


def _wrong(file: Path, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{file} {problem}", field="input_model")
