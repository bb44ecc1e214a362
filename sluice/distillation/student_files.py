"""The student's directory: its own configuration and weights, and around them what its teacher brought along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.compression.copying import copy_files, copy_modules
from sluice.distillation.teacher import Teacher, tokenizer_files
from sluice.engine.checkpoint.weights import stored_type, weight_files
from sluice.training.checkpoint import save_model


def write_student(model: Any, teacher: Teacher, made: Path) -> None:
    """Write `model` into the directory `made`, in the type that the teacher's weights are stored in.

    Tokenizer and sentence-transformers' modules are the teacher's, byte for byte. What the teacher says of itself, such
    as its quality or a graph in int8, is not true of the student and is left out.
    """
    checkpoint = teacher.checkpoint
    save_model(model, made, stored=stored_type(checkpoint.path))
    copy_files(checkpoint.path, made, tokenizer_files(checkpoint))
    if checkpoint.modules is not None:
        copy_modules(teacher.place, made)


def size_bytes(directory: Path) -> int:
    """How large the weights in `directory` are."""
    return sum(file.stat().st_size for file in weight_files(directory))
