"""A batch-time profile: how long a backend takes for batches of some sizes and lengths, and the memory they need."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sluice.domain.errors import SluiceError
from sluice.domain.variant import BatchTime, Variant
from sluice.engine.accelerator import device_name
from sluice.engine.checkpoint.checkpoint import Checkpoint
from sluice.runtime.cpu import CPU_INFO, read_cpu_info
from sluice.worker.execution.backend import Backend, Item

logger = logging.getLogger(__name__)


# How much this process's resident memory grows at its peak while something runs.


PROCESS = Path("/proc/self")
# Linux then forgets the highest value so far; see proc(5), clear_refs.
_RESET_PEAK = "5"
PEAK = "VmHWM:"
_NOW = "VmRSS:"
_KIB = 1024


class PeakMemory:
    """Counts from its making. `process` is a directory like /proc/self."""

    def __init__(self, process: Path = PROCESS) -> None:
        self._process = process
        self._begin = self._reset()

    @property
    def growth_bytes(self) -> int | None:
        """How far the peak since then lies above what was resident then, in bytes; None where no one counts."""
        peak = status_bytes(self._process, PEAK)
        return None if peak is None or self._begin is None else max(0, peak - self._begin)

    def _reset(self) -> int | None:
        try:
            (self._process / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            return None
        return status_bytes(self._process, _NOW)


def status_bytes(process: Path, name: str) -> int | None:
    """What `process`, a directory like /proc/self, tells of its memory under `name`; None where no one counts."""
    try:
        for line in (process / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * _KIB
    except (OSError, ValueError, IndexError):
        return None
    return None


# How busy a machine is while something is measured on it.


PRESSURE = Path("/proc/pressure/cpu")


class StallMeter:
    """The share of the time since it was made in which a task waited for a processor, by Linux's pressure counter.

    Where there is no such counter, the load average beyond the processors, which is cruder and counts ourselves.
    """

    def __init__(self, pressure: Path = PRESSURE, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pressure = pressure
        self._clock = clock
        self._begun_at = clock()
        self._before_us = self._total_us()

    def share(self) -> float:
        """In [0, 1]."""
        after_us, elapsed_s = self._total_us(), self._clock() - self._begun_at
        if self._before_us is None or after_us is None or elapsed_s <= 0.0:
            return min(1.0, max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1.0))
        return min(1.0, max(0.0, (after_us - self._before_us) / 1e6 / elapsed_s))

    def _total_us(self) -> int | None:
        try:
            line = self._pressure.read_text(encoding="ascii").splitlines()[0]
            return int(line.rpartition("total=")[2])
        except (OSError, ValueError, IndexError):
            return None


SIZES = (1, 4, 16, 64)
LENGTHS = (16, 64, 256)
RUNS = 5
# A machine on which something waits for a processor for a larger share of the time is too busy to be measured on.
MAX_STALLED = 0.25
_WORD = "a"


@runtime_checkable
class Measurable(Backend, Protocol):
    """A backend that says which checkpoint it computes, by which library, and on how many threads of the CPU."""

    checkpoint: Checkpoint
    threads: int
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Measured points, and by how many bytes resident memory peaked above its start meanwhile, if that is known."""

    points: tuple[BatchTime, ...]
    memory_bytes: int | None = None
    stalled: float = 0.0
    """The share of the time, in [0, 1], in which something on the machine waited for a processor meanwhile."""

    @property
    def is_trusted(self) -> bool:
        """Whether the machine was quiet enough that the times are the device's."""
        return self.stalled <= MAX_STALLED

    def widened(self) -> Profile:
        """With deviations that admit how busy the machine was."""
        if self.is_trusted:
            return self
        points = (replace(one, deviation_s=max(one.deviation_s, one.time_s * self.stalled)) for one in self.points)
        return replace(self, points=tuple(points))


def measure(backend: Measurable, *, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Profile:
    """Measure the batches of SIZES and LENGTHS that the variant takes, cheapest first, for about `seconds`.

    A point is the median of up to RUNS runs behind one that is not counted, with the mean absolute deviation from it.
    What would not fit into the time that is left, by the time per token of the point before, is not begun, and nothing
    larger than what did not fit into memory.
    """
    end = clock() + seconds
    memory = PeakMemory()
    points: list[BatchTime] = []
    token_s = 0.0
    for size, text, length in _batches(backend.variant, backend.checkpoint.tokenizer):
        # The run that is not counted, and one that is.
        if clock() + 2 * token_s * size * length > end:
            break
        batch = [Item(text)] * size
        if not _can_run(backend, batch):
            break
        times: list[float] = []
        while len(times) < RUNS and (not times or clock() + times[-1] <= end):
            begun_at = clock()
            backend.execute(batch)
            times.append(clock() - begun_at)
        median = statistics.median(times)
        deviation = statistics.fmean(abs(one - median) for one in times)
        points.append(BatchTime(items=size, tokens=length, time_s=median, deviation_s=deviation))
        token_s = median / (size * length)
    return Profile(points=tuple(points), memory_bytes=memory.growth_bytes)


def _can_run(backend: Measurable, batch: list[Item]) -> bool:
    try:
        return not any(isinstance(output, SluiceError) for output in backend.execute(batch))
    except MemoryError:
        return False


def _batches(variant: Variant, tokenizer: Any) -> Iterator[tuple[int, str, int]]:
    """Sizes, the text that fills the batch, and its tokens; the fewest tokens first."""
    lengths = [length for length in LENGTHS if length <= variant.max_tokens] or [variant.max_tokens]
    sizes = [size for size in SIZES if size <= variant.max_batch_size]
    texts = dict(_text(tokenizer, length) for length in lengths)
    batches = [(size, text, tokens) for text, tokens in texts.items() for size in sizes]
    yield from sorted(batches, key=lambda batch: (batch[0] * batch[2], batch[2]))


def _text(tokenizer: Any, length: int) -> tuple[str, int]:
    """A text of `length` tokens, or as many fewer as words come to; and how many they are."""

    def tokens(words: int) -> int:
        return len(tokenizer(" ".join([_WORD] * words), truncation=False, verbose=False)["input_ids"])

    words = max(1, bisect_right(range(1, length + 1), length, key=tokens))
    return " ".join([_WORD] * words), tokens(words)


# Profiles that were measured before, kept as JSON files: the same model on the same machine is not measured again.


DIRECTORY = "profiles"
# Part of a profile's name; raise it when other batches are measured, or in another way.
_FORMAT = 1


def profile_of(backend: Measurable, *, seconds: float, cache: Path, meter: StallMeter | None = None) -> Profile:
    """The profile kept for this backend under `cache`, or one that is measured now, for about `seconds`, and kept.

    It belongs to the checkpoint's fingerprint, the variant, the processor and the threads. One that was measured on a
    busy machine is measured anew at each start until the machine is quiet, and the quietest is kept; what is returned
    admits by its deviations how busy it was. A cache that cannot be read or written costs a measurement and a word in
    the log, and stops nobody.
    """
    file = profile_file(backend, cache)
    kept = _read(file)
    if kept is not None and kept.is_trusted:
        return kept
    meter = meter or StallMeter()
    measured = measure(backend, seconds=seconds)
    profile = replace(measured, stalled=round(meter.share(), 3))
    extra = {"variant": backend.variant.id, "points": len(profile.points), "memory_bytes": profile.memory_bytes}
    logger.info("profiled", extra={**extra, "stalled": profile.stalled})
    if not profile.is_trusted:
        logger.warning("A profile was measured on a busy machine and is not relied on.", extra=extra)
    if kept is not None and kept.stalled <= profile.stalled:
        return kept.widened()
    if profile.points:
        _write(file, profile)
    return profile.widened()


def profile_file(backend: Measurable, cache: Path) -> Path:
    """Where the backend's profile is kept under `cache`."""
    return cache / DIRECTORY / f"{_key(backend)}.json"


def processor_of(variant: Variant, cpu_info: Path = CPU_INFO) -> str:
    """What computes the variant: the accelerator's name, or the CPU's model as `cpu_info` or the platform says it."""
    if variant.device != "cpu":
        return device_name(variant.device)
    return read_cpu_info(cpu_info).get("model name") or platform.processor() or platform.machine()


def _key(backend: Measurable) -> str:
    variant = backend.variant
    what = (variant.task.name, variant.precision, variant.max_tokens, variant.max_batch_size)
    where = (processor_of(variant), backend.threads, backend.runtime)
    checkpoint = backend.checkpoint
    # Weights that are quantized in another way keep their fingerprint.
    graphs = sorted((file.name, file.stat().st_size) for file in (checkpoint.path / "onnx").glob("*.onnx"))
    parts = json.dumps([_FORMAT, checkpoint.fingerprint, graphs, what, where])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _read(file: Path) -> Profile | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        points = tuple(BatchTime(**point) for point in content["points"])
        # What was kept before this was recorded may have been measured on any machine.
        stalled = float(content.get("stalled", 1.0))
        return Profile(points=points, memory_bytes=content["memory_bytes"], stalled=stalled)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        logger.warning("a kept profile cannot be read and is measured anew", extra={"file": str(file)})
        return None


def _write(file: Path, profile: Profile) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all, whoever else is writing it.
        partly = file.with_suffix(f".{os.getpid()}")
        partly.write_text(json.dumps(asdict(profile)), encoding="utf-8")
        partly.replace(file)
    except OSError:
        logger.warning("a profile cannot be kept", extra={"file": str(file)}, exc_info=True)
