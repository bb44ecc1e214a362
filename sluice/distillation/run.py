"""One distillation from a teacher to a checkpoint that the mesh serves: read, teach, measure, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sluice.compression.copying import copy_files, copy_modules
from sluice.distillation import workplace
from sluice.distillation.fidelity import Accuracy, Closeness, Scale, answers, logits_of, vectors_by
from sluice.distillation.lesson import Lesson
from sluice.distillation.material import encoded, longest_text, read_material
from sluice.distillation.report import Report, Side, Training
from sluice.distillation.settings import Settings
from sluice.distillation.student import make_student
from sluice.distillation.teacher import Teacher, open_teacher, tokenizer_files
from sluice.distillation.texts import Text
from sluice.distillation.workplace import Workplace
from sluice.domain.errors import InvalidRequest
from sluice.engine.accelerator import pick_device
from sluice.engine.checkpoint.model import load_model
from sluice.engine.checkpoint.weights import stored_type, weight_files
from sluice.training.checkpoint import save_model
from sluice.training.encoding import Encoded
from sluice.training.trainer import Trainer

# The student's directory: its own configuration and weights, and around them what its teacher brought along.


def write_student(model: Any, teacher: Teacher, made: Path) -> None:
    """Write `model` into the directory `made`, in the type that the teacher's weights are stored in.

    Tokenizer and sentence-transformers' modules are the teacher's, byte for byte. What the teacher says of itself, such
    as its quality or a graph in int8, is not true of the student and is left out.
    """
    checkpoint = teacher.checkpoint
    save_model(model, made, stored=stored_type(checkpoint.path))
    copy_files(checkpoint.path, made, tokenizer_files(checkpoint))
    if checkpoint.modules is not None:
        copy_modules(teacher.place, made)


def size_bytes(directory: Path) -> int:
    """How large the weights in `directory` are."""
    return sum(file.stat().st_size for file in weight_files(directory))


class Progress(Protocol):
    """Told of what is being done, and how much of it is: `done` of `total` steps."""

    def __call__(self, stage: str, done: int, total: int, loss: float | None = None) -> None:
        """Called when a stage begins, with what is done already, and after each of its steps."""


class TooMuchLost(Exception):
    """The student lost more accuracy than it may; it was not put in place."""


def distill(settings: Settings, progress: Progress) -> Report:
    """Do what `settings` say; the student appears whole, or not at all.

    Raises InvalidRequest, whose field is the setting at fault or `checkpoint`, when something cannot be done, Diverged
    when the loss is no number, TooMuchLost, and Interrupted when SIGINT or SIGTERM came while the student learned.
    """
    workplace.check(settings.student, settings.teacher, overwrite=settings.overwrite)
    device = pick_device(settings.device)
    progress("reading", 0, 1)
    teacher = open_teacher(settings.teacher)
    material = read_material(settings, teacher)
    student = make_student(settings, teacher.checkpoint, teacher.model)
    lesson = Lesson(
        settings=settings,
        teacher=teacher,
        student=student,
        material=material,
        max_tokens=longest_text(settings, teacher, student.model.config),
        device=device,
    )
    progress("reading", 1, 1)
    try:
        return _Distillation(lesson, progress).run()
    except torch.OutOfMemoryError as error:
        problem = f"{device} has no room for {settings.batch_size} texts at once; take fewer, or a smaller --max-tokens"
        raise InvalidRequest(problem, field="batch_size") from error


class _Distillation:
    """What is done with a lesson, in order."""

    def __init__(self, lesson: Lesson, progress: Progress) -> None:
        self._lesson = lesson
        self._progress = progress
        self._settings = lesson.settings
        self._workplace = Workplace(lesson.settings.student, lesson.identity())
        modules = lesson.teacher.checkpoint.modules
        self._answer = logits_of if modules is None else vectors_by(modules.modes)

    def run(self) -> Report:
        """Makes the student and puts it in its place."""
        lesson, learner = self._lesson, self._lesson.student.model
        former = self._workplace.former() if self._settings.resume else None
        measured = self._encoded("reading what to measure on", lesson.material.measured, "evaluate")
        wanted = self._answers("asking the teacher", lesson.teacher.model, measured)
        scale = Scale(wanted, lesson.material.measured, measured.lengths, kind=lesson.teacher.kind)
        if former is None:
            before = scale.fidelity(self._answers("asking the student", learner, measured)).overall
        else:
            before = Closeness(**former["before"])
        trainer = self._teach(former, before)
        with self._workplace.making() as made:
            self._progress("writing", 0, 1)
            write_student(learner.cpu(), lesson.teacher, made)
            written = load_model(made, dtype=torch.float32, task=lesson.teacher.checkpoint.task)
            said = self._answers("measuring the student", written, measured)
            report = Report(
                settings=self._settings,
                task=lesson.teacher.checkpoint.task,
                kind=lesson.teacher.kind,
                begins_with=lesson.student.begins_with,
                teacher=_side(lesson.teacher.model, lesson.teacher.checkpoint.path, scale.accuracy(wanted)),
                student=_side(written, made, scale.accuracy(said)),
                training=self._training(trainer),
                measured_on=lesson.material.measured_on,
                before=before,
                after=scale.fidelity(said),
                examples_by_bucket=scale.examples,
            )
            self._check(report)
            report.write(made)
            self._workplace.settle()
            self._progress("writing", 1, 1)
        return report

    def _teach(self, former: dict[str, Any] | None, before: Closeness) -> Trainer:
        lesson, stage = self._lesson, "learning"
        data = self._encoded("reading what to learn from", lesson.material.learn, "texts")
        self._progress(stage, former["trainer"]["step"] if former else 0, lesson.steps)
        return lesson.give(
            data,
            self._workplace,
            former=former,
            kept={"before": asdict(before)},
            tell=lambda step, loss: self._progress(stage, step, lesson.steps, loss),
        )

    def _encoded(self, stage: str, texts: Sequence[Text], field: str) -> Encoded:
        self._progress(stage, 0, len(texts))
        lesson = self._lesson
        tick = self._tick(stage, len(texts))
        return encoded(texts, lesson.teacher, field=field, max_tokens=lesson.max_tokens, tick=tick).on(lesson.device)

    def _answers(self, stage: str, model: Any, data: Encoded) -> Tensor:
        self._progress(stage, 0, len(data))
        return answers(model.to(self._lesson.device), data, self._answer, tick=self._tick(stage, len(data)))

    def _tick(self, stage: str, total: int) -> Callable[[int], None]:
        return lambda done: self._progress(stage, done, total)

    def _training(self, trainer: Trainer) -> Training:
        lesson, material = self._lesson, self._lesson.material
        return Training(
            texts=len(material.learn),
            labelled=material.labelled,
            alpha=material.alpha,
            max_tokens=lesson.max_tokens,
            steps=trainer.step,
            step_ms=round(trainer.seconds / trainer.step * 1000, 2),
            device=lesson.device.type,
            precision=lesson.precision,
        )

    def _check(self, report: Report) -> None:
        bound, points = self._settings.max_loss_points, report.points
        if bound is not None and points is not None and points > bound:
            raise TooMuchLost(
                f"the student lost {points:.2f} points of accuracy, more than {bound:g}, and was not put in place; its "
                "weights are kept: the same command with a larger bound takes them, and --no-resume starts anew"
            )


def _side(model: Any, directory: Path, right: Accuracy | None) -> Side:
    return Side(
        architecture=model.config.model_type,
        layers=getattr(model.config, "num_hidden_layers", None),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        size_bytes=size_bytes(directory),
        accuracy=right,
    )
