"""The student before it learns: layers of its teacher, or another shape that takes the teacher's words and labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING

from sluice.distillation.layer_drop import drop_layers
from sluice.distillation.settings import Settings
from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.checkpoint.model import MODEL_CLASSES
from sluice.engine.checkpoint.task import CONFIG

_LABEL_KEYS = ("id2label", "label2id", "num_labels")
_SHARED = ("vocab_size", "bos_token_id", "eos_token_id", "id2label", "label2id", "problem_type")


@dataclass(frozen=True, slots=True)
class Student:
    """`model` is in fp32 on the CPU. `kept` are the places of its layers in the teacher, empty for another shape.

    `begins_with` says in words what of the teacher it begins with.
    """

    model: Any
    kept: tuple[int, ...]
    begins_with: str


def make_student(settings: Settings, checkpoint: Checkpoint, teacher: Any) -> Student:
    """The student that the settings ask for; what is drawn by lot comes from their seed.

    Raises InvalidRequest, field `layers` or `student_config`, when the teacher's shape or the file does not allow it.
    """
    torch.manual_seed(settings.seed)
    if settings.student_config is not None:
        return _of_config(settings.student_config, checkpoint, teacher)
    model, kept = drop_layers(teacher, settings.layers or 0)
    said = f"layers {', '.join(map(str, kept))} of the teacher's {teacher.config.num_hidden_layers}"
    return Student(model, kept, said)


def read_student_config(place: Path) -> dict[str, Any]:
    """What the config.json at `place`, itself or the directory of it, says.

    Raises InvalidRequest, field `student_config`, when it is none of a model that transformers knows by itself.
    """
    file = place / CONFIG if place.is_dir() else place
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kind = content["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _wrong(f"{file} is no configuration of a model: {one_line(error)}") from error
    if kind not in CONFIG_MAPPING:
        raise _wrong(f"{file} names model_type {kind}, which transformers does not know by itself")
    return dict(content)


def _of_config(place: Path, checkpoint: Checkpoint, teacher: Any) -> Student:
    content = {key: value for key, value in read_student_config(place).items() if key not in _LABEL_KEYS}
    shared = {key: getattr(checkpoint.config, key, None) for key in _SHARED}
    try:
        config = CONFIG_MAPPING[content["model_type"]].from_dict({**content, "use_cache": False})
        for key, value in {**shared, "pad_token_id": checkpoint.tokenizer.pad_token_id}.items():
            if value is not None:
                setattr(config, key, value)
        model = MODEL_CLASSES[checkpoint.task].from_config(config, dtype=torch.float32)
    except Exception as error:
        raise _wrong(f"{place} describes no model for this task: {one_line(error)}") from error
    _check_shape(place, checkpoint, model)
    return Student(model.eval(), (), _begin_with_words(model, teacher))


def _check_shape(place: Path, checkpoint: Checkpoint, model: Any) -> None:
    if getattr(model.config, "is_encoder_decoder", False):
        raise _wrong(f"{place} describes an encoder with a decoder, which is not served")
    if checkpoint.task is not Task.FEATURE_EXTRACTION:
        return
    if hasattr(model, "pooler"):
        model.pooler = None
    wanted, width = (one.get_text_config().hidden_size for one in (checkpoint.config, model.config))
    if width != wanted:
        raise _wrong(f"{place} has vectors of {width} values, and the teacher's, to be compared with, have {wanted}")


@torch.no_grad()
def _begin_with_words(model: Any, teacher: Any) -> str:
    mine, theirs = (one.get_input_embeddings().weight for one in (model, teacher))
    if mine.shape != theirs.shape:
        return "weights drawn by lot"
    mine.copy_(theirs)
    return "the teacher's word embeddings, all else drawn by lot"


def _wrong(problem: str) -> InvalidRequest:
    return InvalidRequest(problem, field="student_config")
