"""Progress on a terminal: a bar for each stage of a long work."""

from __future__ import annotations

from rich.progress import Progress, TaskID


class Stages:
    """A bar for each stage, from when it is first heard of; with the loss, where there is one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, loss: float | None = None) -> None:
        """`done` of `total` steps of `stage` are done."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done)
        if loss is not None:
            self._progress.update(self._tasks[stage], description=f"{stage}, loss {loss:.4f}")
