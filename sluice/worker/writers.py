"""All of a worker's writers: how busy they keep their devices, and how many texts they have written."""

from __future__ import annotations

from sluice.worker.execution.generation_runner import Writer


class Writers:
    """Sums over those that are here and those that have gone, so that neither of them ever falls."""

    def __init__(self) -> None:
        self._writers: set[Writer] = set()
        self._past_busy_s = 0.0
        self._past_texts = 0

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._writers)

    @property
    def busy_s(self) -> float:
        """Seconds in which their devices were computing, since the start."""
        return self._past_busy_s + sum(writer.busy_s for writer in self._writers)

    @property
    def texts(self) -> int:
        """Texts that have ended."""
        return self._past_texts + sum(writer.texts for writer in self._writers)

    def add(self, writer: Writer) -> None:
        """It is staged."""
        self._writers.add(writer)

    def remove(self, writer: Writer) -> None:
        """It is about to be freed."""
        if writer in self._writers:
            self._writers.remove(writer)
            self._past_busy_s += writer.busy_s
            self._past_texts += writer.texts

    def take_all(self) -> list[Writer]:
        """Remove all of them."""
        writers = list(self._writers)
        for writer in writers:
            self.remove(writer)
        return writers
