"""What a student learns from and what it is measured on: the texts of the settings' files, kept apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.distillation.settings import DEFAULT_ALPHA, Settings
from sluice.distillation.teacher import Teacher
from sluice.distillation.texts import Text, hold_out, read_texts, without
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.tokenizer import max_tokens_of
from sluice.training.encoding import UNLABELLED, Encoded, encode


@dataclass(frozen=True, slots=True)
class Material:
    """No text of `measured` is among those to `learn` from; `measured_on` says where they come from."""

    learn: Sequence[Text]
    measured: Sequence[Text]
    measured_on: str
    alpha: float

    @property
    def labelled(self) -> int:
        """How many of the texts to learn from have a label."""
        return sum(one.label is not None for one in self.learn)


def read_material(settings: Settings, teacher: Teacher) -> Material:
    """The texts that the settings name. Raises InvalidRequest, naming file or setting, when they do not serve."""
    exclusive = teacher.kind == "exclusive"
    if not exclusive:
        _refuse_labels(settings, teacher)
    labels = teacher.checkpoint.labels if exclusive else ()
    texts = read_texts(settings.texts, field="texts", labels=labels)
    if settings.evaluate is None:
        measured, learn = hold_out(texts, seed=settings.seed)
    else:
        measured = read_texts(settings.evaluate, field="evaluate", labels=labels, labelled=True)
        learn = without(texts, measured)
    if not learn:
        raise InvalidRequest(f"{settings.texts} holds no text beside those to be measured on", field="texts")
    if settings.max_loss_points is not None and any(one.label is None for one in measured):
        raise InvalidRequest("accuracy is lost on labelled texts; name some by --evaluate", field="max_loss_points")
    labelled = any(one.label is not None for one in learn)
    if settings.alpha and not labelled:
        raise InvalidRequest(f"no text of {settings.texts} has a label to be weighed", field="alpha")
    alpha = (DEFAULT_ALPHA if settings.alpha is None else settings.alpha) if labelled else 0.0
    return Material(learn, measured, "evaluate" if settings.evaluate else "held out", alpha)


def longest_text(settings: Settings, teacher: Teacher, student_config: Any) -> int:
    """How many tokens of a text are read: as many as asked for, or as both models take.

    Raises InvalidRequest, field `max_tokens`, when they do not take as many.
    """
    checkpoint = teacher.checkpoint
    limit = max_tokens_of(student_config, checkpoint.tokenizer, bound=checkpoint.max_tokens)
    if settings.max_tokens is not None and settings.max_tokens > limit:
        raise InvalidRequest(
            f"{settings.max_tokens} are more than the {limit} that both models take", field="max_tokens"
        )
    return settings.max_tokens or limit


def encoded(
    texts: Sequence[Text], teacher: Teacher, *, field: str, max_tokens: int, tick: Callable[[int], None]
) -> Encoded:
    """The texts as the teacher's tokenizer reads them, cut at `max_tokens`.

    Raises InvalidRequest for `field` when one has no token at all, or one that the teacher does not embed.
    """
    checkpoint = teacher.checkpoint
    lower = checkpoint.modules is not None and checkpoint.modules.lower_case
    data = encode(
        [one.text.lower() if lower else one.text for one in texts],
        checkpoint.tokenizer,
        [UNLABELLED if one.label is None else one.label for one in texts],
        max_tokens=max_tokens,
        tick=tick,
    )
    shortest = int(data.lengths.argmin())
    if data.lengths[shortest] == 0:
        raise InvalidRequest(f"'{texts[shortest].text}' holds nothing that the teacher can read", field=field)
    if int(data.tokens.max()) >= teacher.model.get_input_embeddings().weight.shape[0]:
        raise InvalidRequest("the teacher's tokenizer knows tokens that it does not embed", field="teacher")
    return data


def _refuse_labels(settings: Settings, teacher: Teacher) -> None:
    what = "gives vectors" if teacher.kind == "vectors" else "has labels that do not exclude each other"
    for name in ("alpha", "evaluate", "max_loss_points"):
        if getattr(settings, name):
            raise InvalidRequest(f"the teacher {what}, and right answers of such are not read", field=name)
