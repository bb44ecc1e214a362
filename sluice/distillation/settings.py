"""What a distillation is asked to do, refused before any work when it cannot be meant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from sluice.domain.errors import InvalidRequest
from sluice.training.precision import AUTO, PRECISIONS

DEFAULT_EPOCHS = 3
DEFAULT_ALPHA = 0.3
_LAYER_DROP_RATE = 1e-4
_NEW_STUDENT_RATE = 5e-4
_ABOVE_ZERO = (
    *("layers", "epochs", "steps", "batch_size", "max_tokens"),
    *("learning_rate", "temperature", "save_seconds"),
)
_FROM_ZERO = ("alpha", "hidden", "max_loss_points")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The student has `layers` of the teacher's, or the shape of `student_config`, a config.json or its directory.

    `steps` counts batches, and `epochs` passes over `texts`, which hold one a line or JSON objects with `text` and
    perhaps `label` and `complexity`; so does `evaluate`, in which each has a label. `alpha` weighs right labels,
    `hidden` the hidden states of the layers that were kept. `max_loss_points` bounds the accuracy lost, in hundredths.
    `save_seconds` pass between two savings of the state that an interrupted run goes on from. None leaves a choice to
    us: three epochs, a learning rate that fits how the student begins, an `alpha` where there are labels, and all the
    tokens that both models take.
    """

    teacher: Path
    student: Path
    texts: Path
    layers: int | None = None
    student_config: Path | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    temperature: float = 2.0
    alpha: float | None = None
    hidden: float = 0.0
    max_tokens: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = AUTO
    evaluate: Path | None = None
    max_loss_points: float | None = None
    save_seconds: float = 60.0
    resume: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidRequest; its field is the setting's name."""
        if (self.layers is None) is (self.student_config is None):
            raise InvalidRequest("name either a number of layers to keep or a student's configuration", field="layers")
        if self.epochs is not None and self.steps is not None:
            raise InvalidRequest("epochs and steps both say how long; name one of them", field="steps")
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidRequest(f"{value:g} is no number above 0", field=name)
        for name in _FROM_ZERO:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InvalidRequest(f"{value:g} is no number from 0 on", field=name)
        if self.alpha is not None and self.alpha > 1:
            raise InvalidRequest(f"{self.alpha:g} does not lie between 0 and 1", field="alpha")
        if self.hidden and self.layers is None:
            problem = "hidden states are compared layer by layer, which takes a student made by --layers"
            raise InvalidRequest(problem, field="hidden")
        if self.precision not in (AUTO, *PRECISIONS):
            raise InvalidRequest(f"{self.precision} is none of {', '.join((AUTO, *PRECISIONS))}", field="precision")

    @property
    def rate(self) -> float:
        """The highest learning rate; a student that begins with its teacher's weights should not lose them at once."""
        if self.learning_rate is not None:
            return self.learning_rate
        return _NEW_STUDENT_RATE if self.layers is None else _LAYER_DROP_RATE

    def steps_for(self, texts: int) -> int:
        """How many batches to take of so many texts."""
        return self.steps or (self.epochs or DEFAULT_EPOCHS) * math.ceil(texts / self.batch_size)
