"""Virtual environments of foreign clients, made once and kept under .cache/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRITONCLIENT = "tritonclient[grpc]==2.73.0"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "venvs"


def tritonclient_python() -> Path:
    """The interpreter of an environment that holds stock tritonclient. Raises CalledProcessError if pip fails."""
    home = CACHE / "tritonclient"
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", TRITONCLIENT], check=True)
        (home / ".ready").touch()
    return python
