"""Virtual environments of foreign programs, made once and kept under .cache/."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

TRITONCLIENT = "tritonclient[grpc]==2.73.0"
MLSERVER = "mlserver==1.7.1"
# The newest whose event loop MLServer's worker processes still find.
UVLOOP = "uvloop==0.21.0"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "venvs"


def tritonclient_python() -> Path:
    """The interpreter of an environment that holds stock tritonclient. Raises CalledProcessError if pip fails."""
    return python_with("tritonclient", TRITONCLIENT)


def mlserver_python() -> Path:
    """The interpreter of one that holds MLServer, and torch and transformers of the versions that we have ourselves.

    Raises CalledProcessError if pip fails.
    """
    # "+cpu" and the like name a build, which an index need not have under that name.
    shared = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in ("torch", "transformers")]
    return python_with("mlserver", MLSERVER, UVLOOP, *shared)


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of the environment `name`, which is made anew when `requirements` are others than before."""
    home = CACHE / name
    ready, python = home / ".ready", home / "bin" / "python"
    wanted = "\n".join(requirements)
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        ready.write_text(wanted, encoding="utf-8")
    return python
