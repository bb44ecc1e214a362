"""Where a student comes into being: a folder beside its place, which outlives an interruption and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sluice.compression import destination
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line

_STATE = "state.pt"
_FIELD = "student"
_FORMAT = "sluice-distillation-1"
Identity = Mapping[str, str | int | float | None]
"""What must not change between the parts of a run: the settings, and digests of what they name."""


class Workplace:
    """Beside the student `student`; what is made in `made` moves there when all is done, whole or not at all."""

    def __init__(self, student: Path, identity: Identity) -> None:
        self._student = student
        self._identity = dict(identity)
        place = student.resolve()
        self.folder = place.with_name(f".{place.name}.distilling")
        self.made = self.folder / "made"

    def former(self) -> dict[str, Any] | None:
        """The state that an interrupted run of the same identity left, or None if there was none.

        Raises InvalidRequest naming what is not the same, or the file if it is damaged.
        """
        file = self.folder / _STATE
        if not file.exists():
            return None
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            known, state = content["identity"], content["state"]
            sound = content["format"] == _FORMAT and isinstance(known, dict) and isinstance(state, dict)
        except Exception as error:
            raise _stale(f"{file} is damaged: {one_line(error)}") from error
        if not sound:
            raise _stale(f"{file} was not written by this release")
        pairs = [(name, known.get(name), value) for name, value in self._identity.items()]
        different = [_told(name, before, now) for name, before, now in pairs if before != now]
        if different:
            raise _stale(f"the interrupted run in {self.folder} had other settings: {', '.join(different)}")
        return dict(state)

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep `state` for a later run; a former one stays until this one is on the disk."""
        with told(self._student):
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = self.folder / f"{_STATE}.partial"
            with beside.open("wb") as file:
                torch.save({"format": _FORMAT, "identity": self._identity, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.folder / _STATE)

    @contextmanager
    def making(self) -> Iterator[Path]:
        """An empty folder to make the student in; gone afterwards unless it was settled."""
        with told(self._student):
            shutil.rmtree(self.made, ignore_errors=True)
            self.made.mkdir(parents=True)
            try:
                yield self.made
            finally:
                shutil.rmtree(self.made, ignore_errors=True)

    def forget(self) -> None:
        """Remove the state of the run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def settle(self) -> None:
        """Move what was made to the student's place, and forget the run."""
        with told(self._student):
            destination.settle(self.made, self._student)
        self.forget()


def check(student: Path, teacher: Path, *, overwrite: bool) -> None:
    """Raise InvalidRequest, field `student`, when `student` holds the teacher, or is there and may not be replaced."""
    with told(student):
        destination.check(student, teacher, packed=False, force=overwrite, field=_FIELD, flag="--overwrite")


@contextmanager
def told(student: Path) -> Iterator[None]:
    """Faults of the place, told of the student's."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{student} cannot be written: {one_line(error)}", field=_FIELD) from error


def _told(name: str, before: Any, now: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    digests = isinstance(before, str) and isinstance(now, str) and len(before) == len(now) == 64
    return f"the content of {option}" if digests else f"{option} ({before}, now {now})"


def _stale(problem: str) -> InvalidRequest:
    return InvalidRequest(f"{problem}; --no-resume starts anew", field="resume")
