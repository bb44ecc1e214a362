"""How the unit tests' generated examples are made: the same ones each time, however slow the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("sluice", deadline=None, derandomize=True, database=None)
settings.load_profile("sluice")
