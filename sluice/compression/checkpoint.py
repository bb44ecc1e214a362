"""The directory around a quantized graph: configuration, tokenizer and weights that transformers can load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sluice.compression.copying import copy_files, copy_modules
from sluice.compression.package import write_empty_weights
from sluice.compression.source import TOKENIZER_FILES, Source
from sluice.engine.checkpoint.task import CONFIG
from sluice.engine.checkpoint.weights import INDEX, WEIGHTS, stored_type, weight_files


def write_checkpoint(source: Source, made: Path, *, changed: bool, with_weights: bool) -> None:
    """Write everything but the graph into `made`.

    Where the model was `changed`, its weights and the size of its feed-forward networks are written as they are now,
    in the type that they were stored in; otherwise configuration and weights are the source's, byte for byte. Without
    weights, an empty file stands in their place. An embedder's modules come along; its transformer lies in `made`
    itself, wherever it lay before.
    """
    origin = source.checkpoint.path
    copy_files(origin, made, (CONFIG, *TOKENIZER_FILES))
    if source.checkpoint.modules is not None:
        copy_modules(source.root, made)
    if changed:
        _write_sizes(source.model.config, made / CONFIG)
    if not with_weights:
        write_empty_weights(made)
    elif changed:
        stored = stored_type(origin)
        state = {name: _as(tensor, stored) for name, tensor in source.model.state_dict().items()}
        save_file(state, made / WEIGHTS, metadata={"format": "pt"})
        Path(made, WEIGHTS).chmod(0o644)
    else:
        copy_files(origin, made, (INDEX,))
        for file in weight_files(origin):
            shutil.copyfile(file, made / file.name)


def _write_sizes(config: Any, file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    for key in ("hidden_dim", "intermediate_size"):
        if hasattr(config, key):
            content[key] = getattr(config, key)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _as(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return tensor.detach().to(kind if tensor.is_floating_point() else tensor.dtype).contiguous()
