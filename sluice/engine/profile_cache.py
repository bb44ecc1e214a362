"""Profiles that were measured before, kept as JSON files: the same model on the same machine is not measured again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from dataclasses import asdict, replace
from pathlib import Path

from sluice.domain.variant import BatchTime, Variant
from sluice.engine.accelerator import device_name
from sluice.engine.cpu_info import CPU_INFO, read_cpu_info
from sluice.engine.encoder.profiler import Measurable, Profile, measure
from sluice.engine.machine_load import StallMeter

DIRECTORY = "profiles"
# Part of a profile's name; raise it when other batches are measured, or in another way.
_FORMAT = 1

logger = logging.getLogger(__name__)


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
