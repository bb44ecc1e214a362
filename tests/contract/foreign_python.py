"""Interpreters with other versions of our dependencies, each in a virtual environment that is made once and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.foreign import CACHE

NO_INDEX = "(from versions: none)"


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment named `name` that holds exactly `requirements` and what they need.

    It is made anew when the requirements change. Skips the test when pip reaches no index; what an index refuses fails.
    """
    home = CACHE / name
    ready, python = home / ".ready", home / "bin" / "python"
    wanted = "\n".join(requirements)
    if ready.exists() and ready.read_text() == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    done = subprocess.run([*pip, "install", "--quiet", *requirements], capture_output=True, text=True, check=False)
    if NO_INDEX in done.stderr:
        pytest.skip(f"pip reaches no index that has {', '.join(requirements)}")
    assert done.returncode == 0, done.stderr
    ready.write_text(wanted)
    return python
