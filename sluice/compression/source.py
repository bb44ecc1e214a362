"""The model to compress, whatever form it came in, as a checkpoint directory with its faults told of its own files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sluice.compression.copying import copy_files, copy_modules
from sluice.compression.torch_file import read_torch_file
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import Checkpoint, open_checkpoint
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.checkpoint.model import load_model
from sluice.engine.checkpoint.task import CONFIG
from sluice.engine.checkpoint.weights import WEIGHTS
from sluice.engine.onnx.export import ENCODER_TYPES

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""The files that tokenizers of ENCODER_TYPES may be read from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`checkpoint` is opened and checked; `model` is its transformer in fp32 on the CPU, in evaluation mode.

    `root` is the directory that was opened: for an embedder that of its modules, of which the transformer is one.
    """

    root: Path
    checkpoint: Checkpoint
    model: Any


def open_source(path: Path, staging: Path, *, allow_pickle: bool) -> Source:
    """Open the checkpoint directory or torch file `path`; what has to be converted is written into `staging`.

    Beside a torch file must lie its config.json and tokenizer, and the modules of an embedder that has some; a whole
    module brings its own configuration. Raises InvalidRequest naming the file at fault.
    """
    if not path.exists():
        raise InvalidRequest(f"{path} does not exist", field="input_model")
    if path.is_dir():
        try:
            return _open(path)
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be read: {one_line(error)}", field="input_model") from error
    staging.mkdir()
    content = read_torch_file(path, allow_pickle=allow_pickle)
    with _told_of(path, staging):
        copy_files(path.parent, staging, (CONFIG, *TOKENIZER_FILES))
        copy_modules(path.parent, staging)
        if not isinstance(content, dict):
            content.config.architectures = [type(content).__name__]
            content.config.save_pretrained(staging)
            content = {name: value.clone().contiguous() for name, value in content.state_dict().items()}
        save_file(content, staging / WEIGHTS, metadata={"format": "pt"})
        return _open(staging)


def _open(path: Path) -> Source:
    checkpoint = open_checkpoint(path)
    kind = checkpoint.config.model_type
    if kind not in ENCODER_TYPES:
        problem = f"{path} is of type {kind}; quantization knows {', '.join(sorted(ENCODER_TYPES))}"
        raise InvalidRequest(problem, field="input_model")
    model = load_model(checkpoint.path, dtype=torch.float32, task=checkpoint.task, attn_implementation="eager")
    return Source(root=path, checkpoint=checkpoint, model=model)


@contextmanager
def _told_of(file: Path, staging: Path) -> Iterator[None]:
    # Nobody outside has seen the staged files; they stand for the ones that they were made of.
    try:
        yield
    except InvalidRequest as error:
        told = error.message.replace(str(staging / WEIGHTS), str(file)).replace(str(staging), str(file.parent))
        raise InvalidRequest(told, field=error.field) from error
