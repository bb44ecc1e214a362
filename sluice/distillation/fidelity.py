"""How like its teacher a student is, and how right each of them is: overall and by the complexity of the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sluice.distillation.likeness import relative_distance
from sluice.distillation.texts import BUCKETS, Text
from sluice.engine.checkpoint.sentence_transformers import pool
from sluice.training.encoding import Encoded, ordered_rows
from sluice.training.objective import binary_divergence, divergence

COMPLEXITY, LENGTH = "complexity", "length"
_BATCH = 64
Answer = Callable[[Any, Tensor], Tensor]
"""From a model's output and the attention mask to a row for each text: logits, or a vector."""


@dataclass(frozen=True, slots=True)
class Closeness:
    """The mean over some texts; both values are None where there are none.

    `agreement` is the share of texts with the same best label, or of yes and no that are the same where labels do not
    exclude each other, or the cosine of two vectors. `distance` is the divergence of the student's probabilities from
    the teacher's in nats, or the squared distance of two vectors as a share of the teacher's squared length.
    """

    examples: int
    agreement: float | None = None
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`by_bucket` holds eighths of what `bucketed_by` names: the texts' complexity, or else their length."""

    overall: Closeness
    by_bucket: tuple[Closeness, ...]
    bucketed_by: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of texts whose best label is right; by bucket, None where a bucket is empty."""

    overall: float
    by_bucket: tuple[float | None, ...]


def logits_of(output: Any, mask: Tensor) -> Tensor:  # noqa: ARG001 - as Answer has it
    """The answer of a classifier."""
    logits: Tensor = output.logits
    return logits


def vectors_by(modes: Sequence[str]) -> Answer:
    """The answer of a model that embeds, pooled by `modes`."""
    return lambda output, mask: pool(output.last_hidden_state, mask, modes)


@torch.inference_mode()
def answers(model: Any, data: Encoded, answer: Answer, *, tick: Callable[[int], None]) -> Tensor:
    """The answers to all texts, a row each in fp32 on the CPU; `tick` is called with the number done so far."""
    model.eval()
    rows = list(ordered_rows(data, _BATCH))
    parts: list[Tensor] = []
    for chosen in rows:
        batch = data.batch(chosen)
        parts.append(answer(model(input_ids=batch.ids, attention_mask=batch.mask), batch.mask).float().cpu())
        tick(sum(map(len, parts)))
    return torch.cat(parts)[torch.cat(rows).argsort()]


class Scale:
    """Measures students by what their teacher `wanted` to be said of some texts, `lengths` tokens long.

    `kind` is exclusive or multi_label, as the labels are, or vectors. Buckets are those of the texts' complexity, and
    where no text tells it of their length, in eighths of the longest.
    """

    def __init__(self, wanted: Tensor, texts: Sequence[Text], lengths: Tensor, *, kind: str) -> None:
        self._wanted = wanted
        self._texts = texts
        self._kind = kind
        if any(one.bucket is not None for one in texts):
            self._bucketed_by = COMPLEXITY
            places = torch.tensor([-1 if one.bucket is None else one.bucket for one in texts])
        else:
            self._bucketed_by = LENGTH
            places = (lengths - 1) * BUCKETS // lengths.max()
        self._buckets = [places == place for place in range(BUCKETS)]

    @property
    def examples(self) -> tuple[int, ...]:
        """How many texts each bucket holds."""
        return tuple(int(chosen.sum()) for chosen in self._buckets)

    def fidelity(self, said: Tensor) -> Fidelity:
        """How like the answers `said` are to the teacher's."""
        agreement, distance = self._compared(said)
        by_bucket = tuple(_closeness(agreement[chosen], distance[chosen]) for chosen in self._buckets)
        return Fidelity(_closeness(agreement, distance), by_bucket, self._bucketed_by)

    def accuracy(self, said: Tensor) -> Accuracy | None:
        """How right the logits `said` are; None unless every text has a label."""
        if any(one.label is None for one in self._texts):
            return None
        right = (said.argmax(-1) == torch.tensor([one.label for one in self._texts])).float()
        parts = [right[chosen] for chosen in self._buckets]
        return Accuracy(_mean(right), tuple(_mean(part) if len(part) else None for part in parts))

    def _compared(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """Agreement and distance of each text."""
        wanted = self._wanted
        if self._kind == "vectors":
            return cosine_similarity(wanted, said), relative_distance(said, wanted)
        if self._kind == "multi_label":
            return ((wanted > 0) == (said > 0)).float().mean(-1), binary_divergence(wanted, said)
        return (wanted.argmax(-1) == said.argmax(-1)).float(), divergence(wanted, said)


def _closeness(agreement: Tensor, distance: Tensor) -> Closeness:
    count = len(agreement)
    return Closeness(count, _mean(agreement), _mean(distance)) if count else Closeness(0)


def _mean(values: Tensor) -> float:
    return round(float(values.double().mean()), 4)
