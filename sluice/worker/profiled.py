"""A backend whose batch times are measured when it is warm, so that its variant reports them.

A generator has no batches, and is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sluice.variant import Variant
from sluice.worker.backend import Backend, Item, ModelSpec, Mortal, Output, Preparing, Weighed
from sluice.worker.generator import Generator

Load = Callable[[ModelSpec], Backend | Generator]


class ProfiledBackend:
    """`backend`, measured at the end of its warm-up for about `seconds` unless `cache` holds its profile."""

    def __init__(self, backend: Backend, *, seconds: float, cache: Path) -> None:
        self._backend = backend
        self._seconds = seconds
        self._cache = cache
        self.variant: Variant = backend.variant
        if isinstance(backend, Weighed):
            self.held_bytes = backend.held_bytes

    def warm_up(self) -> None:
        """Warm up, then measure. Raises what the backend's own warm-up raises."""
        from sluice.engine.profile import Measurable
        from sluice.engine.profile_cache import profile_of

        self._backend.warm_up()
        if isinstance(self._backend, Measurable):
            profile = profile_of(self._backend, seconds=self._seconds, cache=self._cache)
            self.variant = replace(self._backend.variant, profile=profile.points)

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        """As the backend does, if it does."""
        return self._backend.prepare(items) if isinstance(self._backend, Preparing) else items

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """As the backend does."""
        return self._backend.execute(items)

    def is_device_lost(self) -> bool:
        """As the backend finds, if it can tell."""
        return isinstance(self._backend, Mortal) and self._backend.is_device_lost()

    def close(self) -> None:
        """As the backend does."""
        self._backend.close()


def profiled(load: Load, *, seconds: float, cache: str) -> Load:
    """A loader whose backends are measured for about `seconds`; 0 leaves `load` as it is."""
    if not seconds:
        return load
    directory = Path(cache)

    def loader(spec: ModelSpec) -> Backend | Generator:
        loaded = load(spec)
        if isinstance(loaded, Generator):
            return loaded
        return ProfiledBackend(loaded, seconds=seconds, cache=directory)

    return loader
