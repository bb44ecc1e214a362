"""Sentence-transformers directories in little, written file by file as the library writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

LIBRARY = "sentence_transformers.models."
# What its releases from 5.4 on write.
MODERN = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
}
FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def add_modules(path: Path, *behind: str, transformer: str = "", modern: bool = False) -> Path:
    """Write modules.json: the transformer, the pooling, and the module types `behind` it. Returns `path`."""
    entries = []
    for place, kind in enumerate(("Transformer", "Pooling", *behind)):
        name = MODERN[kind] if modern else f"{LIBRARY}{kind}"
        directory = f"{place}_{kind}" if place else transformer
        entries.append({"idx": place, "name": str(place), "path": directory, "type": name})
    dump(path / "modules.json", entries)
    return path


def add_pooling(path: Path, *modes: str, **settings: Any) -> Path:
    """Write 1_Pooling/config.json with the flags of `modes` up and all others down. Returns `path`."""
    flags = {flag: mode in modes for mode, flag in FLAGS.items()}
    dump(path / "1_Pooling" / "config.json", {**flags, **settings})
    return path


def add_dense(path: Path, name: str, weight: torch.Tensor, bias: torch.Tensor | None, **settings: Any) -> Path:
    """Write a Dense module into directory `name`. Returns that directory."""
    directory = path / name
    sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
    dump(directory / "config.json", {**sizes, **activation, **settings})
    state = {"linear.weight": weight} | ({} if bias is None else {"linear.bias": bias})
    save_file(state, directory / "model.safetensors")
    return directory


def dump(file: Path, content: Any) -> None:
    """Write `content` as JSON, and the directories that lead to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
