"""A model whose texts another process writes: a worker of either kind loads nothing, and speaks to that process."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sluice.domain.variant import BatchTime, Variant
from sluice.worker.execution.backend import (
    Backend,
    BackendLoader,
    DetectsDeviceLoss,
    Item,
    ModelSpec,
    Output,
    ReportsMemory,
    SupportsPrefetch,
)
from sluice.worker.execution.generator import GenerationEngine

logger = logging.getLogger(__name__)


# A backend whose batch times are measured when it is warm, so that its variant reports them.
#
# A generator has no batches, and is left as it is.


# So many batches in a row say whether the profile is that of this machine as it is now.
BATCHES = 64
# By so much may served batches differ from it in the median: lengths are guessed, and other work runs beside them.
DISAGREES = 4.0
_BYTES_PER_TOKEN = 4


Load = Callable[[ModelSpec], Backend | GenerationEngine]


class ServedTimes:
    """How served batches compare with a profile. Pure: times, in seconds, are arguments."""

    def __init__(self, profile: Sequence[BatchTime]) -> None:
        self._seconds_by_tokens = sorted((one.items * one.tokens, one.time_s) for one in profile)
        self._ratios: list[float] = []

    def disagree(self, items: Sequence[Item], elapsed_s: float) -> bool:
        """Whether this batch is the last of many of which most took far longer, or far less, than the profile says."""
        if not self._seconds_by_tokens:
            return False
        tokens = sum(2 + len(item.text.encode()) // _BYTES_PER_TOKEN for item in items)
        near, seconds = min(self._seconds_by_tokens, key=lambda one: abs(one[0] - tokens))
        self._ratios.append(elapsed_s / (seconds * max(1.0, tokens / near)))
        if len(self._ratios) < BATCHES:
            return False
        ratio, self._ratios = statistics.median(self._ratios), []
        return not 1 / DISAGREES < ratio < DISAGREES


class ProfiledBackend:
    """`backend`, measured at the end of its warm-up for about `seconds` unless `cache` holds its profile.

    A kept profile that service disagrees with is dropped, so that the next start measures anew.
    """

    def __init__(self, backend: Backend, *, seconds: float, cache: Path) -> None:
        self._backend = backend
        self._seconds = seconds
        self._cache = cache
        self._times: ServedTimes | None = None
        self.variant: Variant = backend.variant
        if isinstance(backend, ReportsMemory):
            self.held_bytes = backend.held_bytes

    def warm_up(self) -> None:
        """Warm up, then measure. Raises what the backend's own warm-up raises."""
        from sluice.engine.encoder.profiler import Measurable, profile_of

        self._backend.warm_up()
        if isinstance(self._backend, Measurable):
            profile = profile_of(self._backend, seconds=self._seconds, cache=self._cache)
            self.variant = replace(self._backend.variant, profile=profile.points)
            self._times = ServedTimes(profile.points)

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        """As the backend does, if it does."""
        return self._backend.prepare(items) if isinstance(self._backend, SupportsPrefetch) else items

    def execute(self, items: Sequence[Item]) -> list[Output]:
        """As the backend does."""
        begun_at = time.perf_counter()
        outputs = self._backend.execute(items)
        if self._times is not None and self._times.disagree(items, time.perf_counter() - begun_at):
            self._times = None
            self._drop()
        return outputs

    def _drop(self) -> None:
        from sluice.engine.encoder.profiler import Measurable, profile_file

        logger.warning("Service disagrees with a profile, which the next start measures anew.",
                       extra={"variant": self.variant.id})  # fmt: skip
        if isinstance(self._backend, Measurable):
            with suppress(OSError):
                profile_file(self._backend, self._cache).unlink(missing_ok=True)

    def is_device_lost(self) -> bool:
        """As the backend finds, if it can tell."""
        return isinstance(self._backend, DetectsDeviceLoss) and self._backend.is_device_lost()

    def close(self) -> None:
        """As the backend does."""
        self._backend.close()


def with_profiling(load: Load, *, seconds: float, cache: str) -> Load:
    """A loader whose backends are measured for about `seconds`; 0 leaves `load` as it is."""
    if not seconds:
        return load
    directory = Path(cache)

    def loader(spec: ModelSpec) -> Backend | GenerationEngine:
        loaded = load(spec)
        if isinstance(loaded, GenerationEngine):
            return loaded
        return ProfiledBackend(loaded, seconds=seconds, cache=directory)

    return loader


def with_openai(load: Callable[[ModelSpec], Backend | GenerationEngine]) -> BackendLoader:
    """A loader for what an `openai` server writes, which leaves all else to `load`."""

    def loader(spec: ModelSpec) -> Backend | GenerationEngine:
        if spec.openai is None:
            return load(spec)
        from sluice.engine.openai.generator import OpenAIGenerator

        return OpenAIGenerator(spec, spec.openai)

    return loader
