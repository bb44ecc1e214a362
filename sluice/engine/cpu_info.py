"""What Linux tells of the processor, in the words that it uses itself."""

from __future__ import annotations

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def read_cpu_info(file: Path = CPU_INFO) -> dict[str, str]:
    """The facts of the first core by name, such as `model name` and `flags`; none where there is no such file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    told: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        told.setdefault(key.strip(), value.strip())
    return told
