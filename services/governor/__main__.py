"""The governor as a program: `python -m services.governor`."""

from __future__ import annotations

from services.governor.app import run
from services.governor.config import GovernorConfig
from sluice.runtime.program import main

if __name__ == "__main__":
    raise SystemExit(main("governor", GovernorConfig, run))
