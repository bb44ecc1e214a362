"""A Hugging Face checkpoint directory, opened with care: local files only, safetensors only, no code of its own.

What is wrong with a checkpoint is said before it serves, by the name of the file at fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers import logging as transformers_logging

from sluice.domain.enums import Task
from sluice.domain.variant import Variant, variant_id
from sluice.engine.checkpoint.errors import checkpoint_error, one_line
from sluice.engine.checkpoint.sentence_transformers import SentenceModules, check_widths, read_modules
from sluice.engine.checkpoint.task import CONFIG, reads_forward_only, task_of
from sluice.engine.checkpoint.tokenizer import max_tokens_of, open_tokenizer
from sluice.engine.checkpoint.weights import fingerprint
from sluice.worker.execution.backend import ModelSpec

QUALITY = "quality.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a directory holds: configuration and tokenizer as transformers made them, and facts read from its files.

    `path` is where config.json, weights and tokenizer lie. `labels` belong to text classification; `multi_label` says
    that each is a question of its own, so that scores do not add up to one. `modules` belong to feature extraction.
    `fingerprint` is that of the weights as they were when they were checked.
    """

    path: Path
    task: Task
    config: Any
    tokenizer: Any
    fingerprint: str
    labels: tuple[str, ...]
    max_tokens: int
    multi_label: bool = False
    modules: SentenceModules | None = None
    quality: float | None = None
    quality_by_complexity: tuple[float, ...] = ()


def open_checkpoint(path: Path) -> Checkpoint:
    """Read everything; of the weights, which are read once, no more is kept than their fingerprint.

    Raises InvalidRequest, field `checkpoint`, naming the file at fault and what is wrong with it.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    modules = read_modules(path)
    home = modules.transformer if modules else path
    config = _config(home)
    task = task_of(home, config, in_sentence_modules=modules is not None)
    classifies, embeds = task is Task.TEXT_CLASSIFICATION, task is Task.FEATURE_EXTRACTION
    labels = _labels(home, config) if classifies else ()
    weights = fingerprint(home)
    if embeds:
        modules = modules or _default_modules(home, config)
        check_widths(modules, hidden=config.get_text_config().hidden_size)
    tokenizer = open_tokenizer(home, config, pads=task is not Task.TEXT_GENERATION)
    quality, by_complexity = _quality(path)
    return Checkpoint(
        path=home,
        task=task,
        config=config,
        tokenizer=tokenizer,
        fingerprint=weights,
        labels=labels,
        max_tokens=max_tokens_of(config, tokenizer, bound=modules.max_tokens if modules and embeds else None),
        # As transformers' own pipeline has it: a single label is a question that is answered by yes or no.
        multi_label=classifies and (config.problem_type == "multi_label_classification" or len(labels) == 1),
        modules=modules if embeds else None,
        quality=quality,
        quality_by_complexity=by_complexity,
    )


def _default_modules(path: Path, config: Any) -> SentenceModules:
    # The last token of a decoder is the only one that has seen the whole text.
    return SentenceModules(transformer=path, modes=("lasttoken" if reads_forward_only(config) else "mean",))


def _config(path: Path) -> Any:
    if not (path / CONFIG).is_file():
        raise checkpoint_error(path, CONFIG, "is missing")
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise checkpoint_error(path, CONFIG, f"cannot be read: {one_line(error)}") from error


def _labels(path: Path, config: Any) -> tuple[str, ...]:
    # transformers drops an id2label that has not num_labels entries, and every name with it.
    written = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    named, counted = written.get("id2label"), written.get("num_labels")
    if named and counted and len(named) != counted:
        raise checkpoint_error(path, CONFIG, f"has num_labels {counted}, and id2label names {len(named)}")
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if sorted(names) != list(range(config.num_labels)):
        raise checkpoint_error(path, CONFIG, f"id2label does not name the labels 0 to {config.num_labels - 1}")
    return tuple(names[index] for index in range(len(names)))


def _quality(path: Path) -> tuple[float | None, tuple[float, ...]]:
    file = path / QUALITY
    if not file.is_file():
        return None, ()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        quality = float(content["quality"])
        by_complexity = tuple(float(value) for value in content.get("quality_by_complexity", ()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise checkpoint_error(path, QUALITY, f"cannot be read: {one_line(error)}") from error
    if not all(0.0 <= value <= 1.0 for value in (quality, *by_complexity)):
        raise checkpoint_error(path, QUALITY, "holds a quality outside [0, 1]")
    return quality, by_complexity


# What routers are told of a checkpoint that a backend holds.


def describe(spec: ModelSpec, checkpoint: Checkpoint, *, device: str, precision: str) -> Variant:
    """The variant that `checkpoint` is as it was asked for by `spec`, on a device of type `device`."""
    return Variant(
        id=variant_id(spec.model, spec.tier, precision),
        model=spec.model,
        tier=spec.tier,
        task=checkpoint.task,
        device=device,
        precision=precision,
        labels=checkpoint.labels,
        max_tokens=checkpoint.max_tokens,
        max_batch_size=spec.max_batch_size,
        quality=checkpoint.quality,
        quality_by_complexity=checkpoint.quality_by_complexity,
    )
