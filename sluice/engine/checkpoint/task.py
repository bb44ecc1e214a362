"""What a checkpoint does with a text, by the architecture that its config.json names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from sluice.domain.enums import Task
from sluice.engine.checkpoint.errors import checkpoint_error

CONFIG = "config.json"
_CLASSIFIER_SUFFIX = "ForSequenceClassification"
_WRITER_SUFFIX = "ForCausalLM"


def task_of(path: Path, config: Any, *, in_sentence_modules: bool = False) -> Task:
    """The task of the checkpoint directory `path`, whose configuration is `config`.

    …ForSequenceClassification classifies, and a decoder's …ForCausalLM generates. A model without a head of its own
    (BertModel, say), or any transformer that is `in_sentence_modules`, extracts features. Raises InvalidRequest, field
    `checkpoint`, for all others.
    """
    architectures = [str(name) for name in getattr(config, "architectures", None) or ()]
    if any(name.endswith(_CLASSIFIER_SUFFIX) for name in architectures):
        if config.problem_type == "regression":
            raise checkpoint_error(path, CONFIG, "names problem_type regression, which gives no labels")
        return Task.TEXT_CLASSIFICATION
    if in_sentence_modules or MODEL_MAPPING_NAMES.get(config.model_type) in architectures:
        if getattr(config, "is_encoder_decoder", False):
            raise checkpoint_error(
                path, CONFIG, "describes an encoder with a decoder, which gives no vector for a text"
            )
        return Task.FEATURE_EXTRACTION
    if any(name.endswith(_WRITER_SUFFIX) for name in architectures) and reads_forward_only(config):
        return Task.TEXT_GENERATION
    named = ", ".join(architectures) or "no architecture"
    served = f"…{_CLASSIFIER_SUFFIX}, decoders' …{_WRITER_SUFFIX}, and models without a head"
    raise checkpoint_error(path, CONFIG, f"names {named}; this release serves {served}")


def reads_forward_only(config: Any) -> bool:
    """Whether a token of this model sees none that come after it: a decoder, made to continue texts."""
    kind = config.model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
