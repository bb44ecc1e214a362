"""Where a process's threads are, looked at a hundred times a second: a profile that costs next to nothing.

What is counted is the innermost function of each thread, and the innermost of ours or transformers' around it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.writing.step_clock import StepClock

INTERVAL_S = 0.01
WRITTEN_EVERY_S = 1.0
LISTED = 25
_NAMED = ("/sluice/", "/transformers/", "/benchmarks/")


class Sampler:
    """Writes to `file` what it and `clock` have seen since `file` was last taken away, until the process ends."""

    def __init__(self, file: Path, clock: StepClock) -> None:
        self._file = file
        self._clock = clock
        self._seen: dict[str, Counter[str]] = {}
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Look on from now on."""
        self._thread.start()

    def _run(self) -> None:
        due_at = time.monotonic() + WRITTEN_EVERY_S
        while True:
            time.sleep(INTERVAL_S)
            self._look()
            if time.monotonic() >= due_at:
                if not self._file.exists():
                    self._seen.clear()
                    self._clock.clear()
                # Whole or not at all, as somebody may read it in this moment.
                fresh = self._file.with_suffix(".new")
                content = {"threads": shares(self._seen), "turns_of_the_loop": self._clock.content()}
                fresh.write_text(json.dumps(content), encoding="utf-8")
                fresh.replace(self._file)
                due_at = time.monotonic() + WRITTEN_EVERY_S

    def _look(self) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():  # noqa: SLF001  the only way to look at other threads
            name = names.get(ident, "")
            if name not in {"", "sampler"}:
                self._seen.setdefault(name, Counter())[place_of(frame)] += 1


def place_of(frame: FrameType) -> str:
    """`innermost < named`, or one of them if they are the same or none is named."""
    innermost, at = _name(frame), frame
    while at.f_back is not None and not any(part in at.f_code.co_filename for part in _NAMED):
        at = at.f_back
    around = _name(at)
    return innermost if around == innermost else f"{innermost} < {around}"


def shares(seen: dict[str, Counter[str]]) -> dict[str, dict[str, float]]:
    """By thread, the share of looks at which it was there, the largest first."""
    return {
        thread: {place: round(count / counts.total(), 3) for place, count in counts.most_common(LISTED)}
        for thread, counts in seen.items()
    }


def _name(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
