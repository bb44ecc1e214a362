"""A checkpoint's transformers model: every weight from its files, none made up, and no code of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from sluice.domain.enums import Task
from sluice.engine.checkpoint.errors import checkpoint_error, one_line
from sluice.engine.checkpoint.weights import WEIGHTS

OUTPUT_NAMES = {Task.TEXT_CLASSIFICATION: "logits", Task.FEATURE_EXTRACTION: "last_hidden_state"}
"""What a task needs of a model's outputs: logits, (texts, labels), or hidden states, (texts, tokens, width)."""
MODEL_CLASSES = {
    Task.TEXT_CLASSIFICATION: AutoModelForSequenceClassification,
    Task.FEATURE_EXTRACTION: AutoModel,
    Task.TEXT_GENERATION: AutoModelForCausalLM,
}
"""What transformers builds a model of each task with."""
# transformers' own summary of a text, which many checkpoints leave out and no pooling of ours reads.
_POOLER = "pooler"
_NAMED = 3


def load_model(path: Path, *, dtype: torch.dtype | str, task: Task = Task.TEXT_CLASSIFICATION, **options: Any) -> Any:
    """The model of checkpoint `path` for `task` on the CPU, in evaluation mode, with the output of OUTPUT_NAMES.

    A `dtype` of "auto" is the one that config.json names. `options` go to transformers. Raises InvalidRequest, field
    `checkpoint`, when transformers cannot build the model or a weight is missing or of another shape than config.json
    says; transformers would fill such a weight with noise.
    """
    try:
        model, report = MODEL_CLASSES[task].from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except Exception as error:
        raise checkpoint_error(
            path, "config.json", f"describes a model that cannot be loaded: {one_line(error)}"
        ) from error
    wrong = sorted(_name(key) for kind in ("missing_keys", "mismatched_keys") for key in report.get(kind, ()))
    if task is Task.FEATURE_EXTRACTION:
        wrong = [name for name in wrong if not name.startswith(f"{_POOLER}.")]
        if hasattr(model, _POOLER):
            model.pooler = None
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise checkpoint_error(path, WEIGHTS, f"does not fit config.json: {', '.join(wrong[:_NAMED])}{more}")
    if task is not Task.TEXT_GENERATION:
        # Nothing is generated from what is remembered of a text.
        model.config.use_cache = False
    return model.eval()


def _name(key: Any) -> str:
    # A weight that is missing is told by name, one of another shape by name and both shapes.
    if isinstance(key, str):
        return key
    name, found, wanted = key
    return f"{name} is {tuple(found)} and should be {tuple(wanted)}"
