"""The lesson: a student learns from its teacher, and can be interrupted and go on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from sluice.distillation.likeness import SameHiddenStates, SameVectors
from sluice.distillation.material import Material
from sluice.distillation.settings import Settings
from sluice.distillation.student import Student
from sluice.distillation.teacher import Teacher, digest_of
from sluice.distillation.workplace import Identity, Workplace
from sluice.engine.checkpoint.task import CONFIG
from sluice.training.all_experts import compute_all_experts
from sluice.training.encoding import Encoded
from sluice.training.objective import Imitation, Likeness, SoftTargets
from sluice.training.precision import pick_precision
from sluice.training.trainer import Course, Diverged, Progress, Trainer

# SIGINT and SIGTERM, heard without dying at once.


class Interrupted(Exception):
    """The run was asked to stop, and its state is kept. `signal` is the number of the signal that asked."""

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class Interruption:
    """Whether a signal has asked to stop, and which. The second one is not waited for: it does what it always did."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear signals inside of this context; only a program's main thread can. One that is ignored stays so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        found = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
        former = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

        def hear(number: int, _frame: FrameType | None) -> None:
            self.signal = number
            for one, handler in former.items():
                signal.signal(one, handler)

        for number in former:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is taught to whom, from what, and where it is computed."""

    settings: Settings
    teacher: Teacher
    student: Student
    material: Material
    max_tokens: int
    device: torch.device

    @property
    def precision(self) -> str:
        """What both models compute in."""
        return pick_precision(self.settings.precision, self.device)

    @property
    def steps(self) -> int:
        """How many batches the student learns from."""
        return self.settings.steps_for(len(self.material.learn))

    def identity(self) -> Identity:
        """All that decides what the student becomes: a run goes on only where it is the same."""
        settings = self.settings
        place = settings.student_config
        return {
            "teacher": self.teacher.fingerprint(),
            "texts": digest_of(settings.texts),
            "evaluate": digest_of(settings.evaluate) if settings.evaluate else None,
            "layers": settings.layers,
            "student_config": digest_of(place / CONFIG if place.is_dir() else place) if place else None,
            "steps": self.steps,
            "batch_size": settings.batch_size,
            "learning_rate": settings.rate,
            "temperature": settings.temperature,
            "alpha": self.material.alpha,
            "hidden": settings.hidden,
            "max_tokens": self.max_tokens,
            "seed": settings.seed,
            "device": self.device.type,
            "precision": self.precision,
        }

    def give(
        self,
        data: Encoded,
        workplace: Workplace,
        *,
        former: dict[str, Any] | None,
        kept: dict[str, Any],
        tell: Progress,
    ) -> Trainer:
        """Teach, on from `former` if that is the state of an interrupted lesson; returns the trainer behind its course.

        The state goes to the workplace, with `kept` in it, now and then, at the end, and when a signal interrupts,
        which raises Interrupted. Raises Diverged, and forgets the state, when the loss is no number.
        """
        trainer = self._trainer(data)
        if former is not None:
            trainer.restore(former["trainer"])
        interruption = Interruption()
        save = _Saving(lambda: workplace.save({**kept, "trainer": trainer.state()}), self.settings.save_seconds)

        def pause() -> bool:
            save.if_due()
            return interruption()

        try:
            with interruption.heard():
                trainer.run(tell, pause=pause)
                save()
        except Diverged:
            workplace.forget()
            raise
        if interruption.signal is not None:
            done = f"stopped after {trainer.step} of {self.steps} steps; the same command goes on from there"
            raise Interrupted(done, signal=interruption.signal)
        return trainer

    def _trainer(self, data: Encoded) -> Trainer:
        settings = self.settings
        course = Course(
            steps=self.steps, batch_size=settings.batch_size, learning_rate=settings.rate, seed=settings.seed
        )
        for model in (self.teacher.model.to(self.device), self.student.model):
            compute_all_experts(model, self.device)
        objective = Imitation(self.teacher.model, self._likenesses(), hidden_states=settings.hidden > 0)
        return Trainer(self.student.model, objective, data, course, device=self.device, precision=self.precision)

    def _likenesses(self) -> list[Likeness]:
        settings, modules = self.settings, self.teacher.checkpoint.modules
        likenesses: list[Likeness] = []
        if modules is not None:
            likenesses.append(SameVectors(modules.modes))
        else:
            multi_label = self.teacher.kind == "multi_label"
            alpha = self.material.alpha
            likenesses.append(SoftTargets(temperature=settings.temperature, alpha=alpha, multi_label=multi_label))
        if settings.hidden > 0:
            of = self.teacher.model.config.num_hidden_layers
            likenesses.append(SameHiddenStates(self.student.kept, of=of, weight=settings.hidden))
        return likenesses


class _Saving:
    """Saves when called, and when asked `if_due` and the time since the last saving has passed."""

    def __init__(self, save: Callable[[], None], every_s: float) -> None:
        self._save = save
        self._every_s = every_s
        self._last = time.monotonic()

    def __call__(self) -> None:
        self._save()
        self._last = time.monotonic()

    def if_due(self) -> None:
        if time.monotonic() - self._last >= self._every_s:
            self()
