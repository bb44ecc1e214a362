"""The teacher: a checkpoint that is served as it is, opened to be asked and compared with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sluice.compression.source import TOKENIZER_FILES
from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import Checkpoint, open_checkpoint
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.checkpoint.model import load_model


@dataclass(frozen=True, slots=True)
class Teacher:
    """`place` is the directory as it was named, `model` in fp32 on the CPU, in evaluation mode."""

    place: Path
    checkpoint: Checkpoint
    model: Any

    @property
    def kind(self) -> str:
        """How answers are compared: exclusive or multi_label, as the labels are, or vectors."""
        if self.checkpoint.task is Task.FEATURE_EXTRACTION:
            return "vectors"
        return "multi_label" if self.checkpoint.multi_label else "exclusive"

    def fingerprint(self) -> str:
        """A SHA-256 in hexadecimal of all that decides what the teacher says."""
        digest = hashlib.sha256(self.checkpoint.fingerprint.encode())
        for name in tokenizer_files(self.checkpoint):
            file = self.checkpoint.path / name
            digest.update(f"{name} {digest_of(file) if file.is_file() else 'none'}\n".encode())
        return digest.hexdigest()


def tokenizer_files(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of all files that the checkpoint's tokenizer may be read from, whether they are there or not."""
    return tuple(dict.fromkeys((*TOKENIZER_FILES, *type(checkpoint.tokenizer).vocab_files_names.values())))


def digest_of(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def open_teacher(place: Path) -> Teacher:
    """The teacher in directory `place`. Raises InvalidRequest naming the file at fault, or field `teacher`."""
    if not place.is_dir():
        raise InvalidRequest(f"{place} is no checkpoint directory", field="teacher")
    try:
        checkpoint = open_checkpoint(place)
        model = load_model(checkpoint.path, dtype=torch.float32, task=checkpoint.task)
    except OSError as error:
        raise InvalidRequest(f"{place} cannot be read: {one_line(error)}", field="teacher") from error
    # Decoders look for a text's last token by the pad token, which is the one that the tokenizer pads with.
    model.config.pad_token_id = checkpoint.tokenizer.pad_token_id
    model.requires_grad_(False)
    return Teacher(place, checkpoint, model)
