"""A Hugging Face checkpoint directory, opened with care: local files only, safetensors only, no code of its own.

What is wrong with a checkpoint is said before it serves, by the name of the file at fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer
from transformers import logging as transformers_logging

from sluice.errors import InvalidRequest
from sluice.tier import Task

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
QUALITY = "quality.json"
_CLASSIFIER_SUFFIX = "ForSequenceClassification"
# Tokenizers without a limit of their own say so with an astronomic number.
_SANE_MAX_TOKENS = 1_000_000
_DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a directory holds: configuration and tokenizer as transformers made them, and facts read from its files."""

    path: Path
    task: Task
    config: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_tokens: int
    quality: float | None = None
    quality_by_complexity: tuple[float, ...] = ()


def open_checkpoint(path: Path) -> Checkpoint:
    """Read everything but the weights, whose files are checked to be whole.

    Raises InvalidRequest, field `checkpoint`, naming the file at fault and what is wrong with it.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if not (path / "config.json").is_file():
        raise _broken(path, "config.json", "is missing")
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _broken(path, "config.json", f"cannot be read: {_one_line(error)}") from error
    task = _task(path, config)
    check_weights(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise _broken(path, "tokenizer.json", f"is missing or cannot be read: {_one_line(error)}") from error
    if tokenizer.pad_token_id is None:
        raise _broken(path, "tokenizer_config.json", "names no pad token, without which there are no batches")
    quality, by_complexity = _quality(path)
    return Checkpoint(
        path=path,
        task=task,
        config=config,
        tokenizer=tokenizer,
        labels=_labels(path, config),
        max_tokens=_max_tokens(config, tokenizer),
        quality=quality,
        quality_by_complexity=by_complexity,
    )


def check_weights(path: Path) -> None:
    """Raise InvalidRequest unless the weight files are there, whole, and free of NaN and infinity."""
    if (path / WEIGHTS_INDEX).is_file():
        try:
            names = sorted(set(json.loads((path / WEIGHTS_INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise _broken(path, WEIGHTS_INDEX, f"is no index: {_one_line(error)}") from error
    else:
        names = [WEIGHTS]
    for name in names:
        if not (path / name).is_file():
            raise _broken(path, name, "is missing; weights are read from safetensors files only")
        try:
            with safe_open(path / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  safe_open is no mapping
                    tensor = file.get_tensor(key)
                    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                        raise _broken(path, name, f"holds NaN or infinity in '{key}'")
        except SafetensorError as error:
            raise _broken(path, name, f"is truncated or damaged: {_one_line(error)}") from error


def _task(path: Path, config: Any) -> Task:
    architectures = getattr(config, "architectures", None) or []
    if any(name.endswith(_CLASSIFIER_SUFFIX) for name in architectures):
        return Task.TEXT_CLASSIFICATION
    named = ", ".join(architectures) or "no architecture"
    raise _broken(path, "config.json", f"names {named}; this release serves …{_CLASSIFIER_SUFFIX}")


def _labels(path: Path, config: Any) -> tuple[str, ...]:
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if sorted(names) != list(range(config.num_labels)):
        raise _broken(path, "config.json", f"id2label does not name the labels 0 to {config.num_labels - 1}")
    return tuple(names[index] for index in range(len(names)))


def _max_tokens(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or _DEFAULT_MAX_TOKENS
    if config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        # Their positions start behind the padding index.
        positions -= config.pad_token_id + 1
    limit = tokenizer.model_max_length
    return int(min(positions, limit)) if limit and limit < _SANE_MAX_TOKENS else int(positions)


def _quality(path: Path) -> tuple[float | None, tuple[float, ...]]:
    file = path / QUALITY
    if not file.is_file():
        return None, ()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        quality = float(content["quality"])
        by_complexity = tuple(float(value) for value in content.get("quality_by_complexity", ()))
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(path, QUALITY, f"cannot be read: {_one_line(error)}") from error
    if not all(0.0 <= value <= 1.0 for value in (quality, *by_complexity)):
        raise _broken(path, QUALITY, "holds a quality outside [0, 1]")
    return quality, by_complexity


def _broken(path: Path, name: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{path / name} {problem}", field="checkpoint")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
