"""How much this process's resident memory grows at its peak while something runs."""

from __future__ import annotations

from pathlib import Path

PROCESS = Path("/proc/self")
# Linux then forgets the highest value so far; see proc(5), clear_refs.
_RESET_PEAK = "5"
PEAK = "VmHWM:"
_NOW = "VmRSS:"
_KIB = 1024


class PeakMemory:
    """Counts from its making. `process` is a directory like /proc/self."""

    def __init__(self, process: Path = PROCESS) -> None:
        self._process = process
        self._begin = self._reset()

    @property
    def growth_bytes(self) -> int | None:
        """How far the peak since then lies above what was resident then, in bytes; None where no one counts."""
        peak = status_bytes(self._process, PEAK)
        return None if peak is None or self._begin is None else max(0, peak - self._begin)

    def _reset(self) -> int | None:
        try:
            (self._process / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            return None
        return status_bytes(self._process, _NOW)


def status_bytes(process: Path, name: str) -> int | None:
    """What `process`, a directory like /proc/self, tells of its memory under `name`; None where no one counts."""
    try:
        for line in (process / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * _KIB
    except (OSError, ValueError, IndexError):
        return None
    return None
