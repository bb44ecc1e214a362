"""Where torch keeps what it compiles: with all else that a worker made for itself, so that its next start finds it."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

PLACE = "TORCHINDUCTOR_CACHE_DIR"
"""torch's own variable, which is read when something is compiled."""


def keep_compiled(cache: str, environ: MutableMapping[str, str]) -> None:
    """Name a directory under `cache` in `environ`, if none is named yet.

    One that cannot be made is not named: torch, which has a place of its own for a boot's time, would fail there.
    """
    if PLACE in environ:
        return
    place = Path(cache) / "compiled"
    try:
        # What lies here is run.
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    environ[PLACE] = str(place)
