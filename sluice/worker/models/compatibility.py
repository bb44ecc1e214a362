"""What a distilled copy must have in common with its full model, so that one may answer in place of the other."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.domain.enums import Task
from sluice.domain.errors import InvalidRequest, SluiceError
from sluice.worker.execution.backend import Backend, Embedding, Item
from sluice.worker.execution.generation_runner import GenerationRunner, LoadedModel
from sluice.worker.execution.generator import GenerationRequest

# One text that is short, and one that fills the model: half precision overflows on long ones first.
_SHORT = "where is my order? "
_PROBES = (_SHORT.strip(), _SHORT * 400)
# So many tokens are written, and so many of the model's positions are left for them and for special tokens.
_NEW_TOKENS = 4
_SPARE_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """What a caller sees of a model. `width` is that of its vectors, 0 if it gives none."""

    task: Task
    labels: frozenset[str]
    max_tokens: int
    width: int


def signature_of(servable: LoadedModel) -> ModelSignature:
    """Look at `servable`, which must be warm and serve nobody. Raises InvalidRequest when it cannot answer."""
    if isinstance(servable, GenerationRunner):
        _try_to_write(servable)
        width = 0
    else:
        width = _width_of(servable)
    variant = servable.variant
    return ModelSignature(
        task=variant.task, labels=frozenset(variant.labels), max_tokens=variant.max_tokens, width=width
    )


def _width_of(backend: Backend) -> int:
    outputs = backend.execute([Item(text, truncate=True) for text in _PROBES])
    for output in outputs:
        if isinstance(output, SluiceError):
            raise InvalidRequest(f"the model cannot answer a plain text: {output.message}", field="checkpoint")
    return max((len(output.values) for output in outputs if isinstance(output, Embedding)), default=0)


def _try_to_write(writer: GenerationRunner) -> None:
    # A tokenizer makes at most one token of a byte, so that this much is sure to fit.
    longest = max(len(_SHORT), writer.variant.max_tokens - _NEW_TOKENS - _SPARE_TOKENS)
    for text in (_PROBES[0], _PROBES[1][:longest]):
        last = writer.write(GenerationRequest(text=text, max_new_tokens=_NEW_TOKENS))
        if last.error is not None:
            raise InvalidRequest(f"the model cannot go on from a plain text: {last.error.message}", field="checkpoint")


def check_compatible(copy: ModelSignature, full: ModelSignature) -> None:
    """Raises InvalidRequest, field `distilled`, saying in what `copy` cannot stand for `full`."""
    problem = _difference(copy, full)
    if problem:
        raise InvalidRequest(f"the distilled copy cannot stand for the full model: {problem}", field="distilled")


def _difference(copy: ModelSignature, full: ModelSignature) -> str:
    if copy.task is not full.task:
        return f"it does {copy.task.name.lower()}, and the full model {full.task.name.lower()}"
    if copy.labels != full.labels:
        return f"their labels differ in {', '.join(sorted(copy.labels ^ full.labels)[:5])}"
    if copy.width != full.width:
        return f"its vectors have {copy.width} numbers, and the full model's {full.width}"
    if copy.max_tokens < full.max_tokens:
        return f"it takes {copy.max_tokens} tokens, and the full model {full.max_tokens}"
    return ""
