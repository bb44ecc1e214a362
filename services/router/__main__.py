"""The router as a program: `python -m services.router`."""

from __future__ import annotations

from services.router.app import run
from services.router.config import RouterConfig
from sluice.runtime.program import main

if __name__ == "__main__":
    raise SystemExit(main("router", RouterConfig, run))
