"""A Hugging Face checkpoint directory, opened with care: local files only, safetensors only, no code of its own.

What is wrong with a checkpoint is said before it serves, by the name of the file at fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer
from transformers import logging as transformers_logging

from sluice.engine.fault import fault, one_line
from sluice.engine.weights import check_weights
from sluice.tier import Task

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
QUALITY = "quality.json"
_CLASSIFIER_SUFFIX = "ForSequenceClassification"
_ROBERTA_TYPES = frozenset({"roberta", "xlm-roberta", "camembert"})
# Tokenizers without a limit of their own say so with an astronomic number.
_SANE_MAX_TOKENS = 1_000_000
_DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a directory holds: configuration and tokenizer as transformers made them, and facts read from its files.

    `multi_label` says that each label is a question of its own, so that scores do not add up to one.
    """

    path: Path
    task: Task
    config: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_tokens: int
    multi_label: bool = False
    quality: float | None = None
    quality_by_complexity: tuple[float, ...] = ()


def open_checkpoint(path: Path) -> Checkpoint:
    """Read everything but the weights, whose files are checked to be whole.

    Raises InvalidRequest, field `checkpoint`, naming the file at fault and what is wrong with it.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = _config(path)
    task = _task(path, config)
    labels = _labels(path, config)
    check_weights(path)
    tokenizer = _tokenizer(path, config)
    quality, by_complexity = _quality(path)
    return Checkpoint(
        path=path,
        task=task,
        config=config,
        tokenizer=tokenizer,
        labels=labels,
        max_tokens=_max_tokens(config, tokenizer),
        # As transformers' own pipeline has it: a single label is a question that is answered by yes or no.
        multi_label=config.problem_type == "multi_label_classification" or len(labels) == 1,
        quality=quality,
        quality_by_complexity=by_complexity,
    )


def _config(path: Path) -> Any:
    if not (path / CONFIG).is_file():
        raise fault(path, CONFIG, "is missing")
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise fault(path, CONFIG, f"cannot be read: {one_line(error)}") from error


def _task(path: Path, config: Any) -> Task:
    architectures = getattr(config, "architectures", None) or []
    if not any(str(name).endswith(_CLASSIFIER_SUFFIX) for name in architectures):
        named = ", ".join(map(str, architectures)) or "no architecture"
        raise fault(path, CONFIG, f"names {named}; this release serves …{_CLASSIFIER_SUFFIX}")
    if config.problem_type == "regression":
        raise fault(path, CONFIG, "names problem_type regression, which gives no labels")
    return Task.TEXT_CLASSIFICATION


def _labels(path: Path, config: Any) -> tuple[str, ...]:
    # transformers drops an id2label that has not num_labels entries, and every name with it.
    written = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    named, counted = written.get("id2label"), written.get("num_labels")
    if named and counted and len(named) != counted:
        raise fault(path, CONFIG, f"has num_labels {counted}, and id2label names {len(named)}")
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if sorted(names) != list(range(config.num_labels)):
        raise fault(path, CONFIG, f"id2label does not name the labels 0 to {config.num_labels - 1}")
    return tuple(names[index] for index in range(len(names)))


def _tokenizer(path: Path, config: Any) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise fault(path, TOKENIZER, f"cannot be read: {one_line(error)}") from error
    files = sorted({TOKENIZER, *type(tokenizer).vocab_files_names.values()})
    if type(tokenizer).vocab_files_names and not any((path / name).is_file() for name in files):
        # transformers then makes up a tokenizer that knows no word. Some read bytes, and need no file.
        raise fault(path, TOKENIZER, f"is missing, and so is all else that could stand for it: {', '.join(files)}")
    if tokenizer.pad_token_id is None:
        raise fault(path, "tokenizer_config.json", "names no pad token, without which there are no batches")
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is not None and tokenizer.pad_token_id >= vocabulary:
        problem = f"pads with token {tokenizer.pad_token_id}, and config.json's vocab_size is {vocabulary}"
        raise fault(path, TOKENIZER, problem)
    if config.model_type in _ROBERTA_TYPES and tokenizer.pad_token_id != config.pad_token_id:
        # These count positions from the pad token, so another one would move every word.
        problem = f"pads with {tokenizer.pad_token_id}, and config.json's pad_token_id is {config.pad_token_id}"
        raise fault(path, TOKENIZER, problem)
    return tokenizer


def _max_tokens(config: Any, tokenizer: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or _DEFAULT_MAX_TOKENS
    if config.model_type in _ROBERTA_TYPES:
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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise fault(path, QUALITY, f"cannot be read: {one_line(error)}") from error
    if not all(0.0 <= value <= 1.0 for value in (quality, *by_complexity)):
        raise fault(path, QUALITY, "holds a quality outside [0, 1]")
    return quality, by_complexity
