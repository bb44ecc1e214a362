"""One batch on a backend, whatever that does: an output for every item, or the news that the device is lost.

A batch that fails as a whole is run again item by item, so that one poisonous text costs only itself. One for which
memory does not suffice is cut in two, longest texts apart, and each half is tried once more. Of one that does not fit
either the longest text is refused, and then half of what is left each time, so that the device is not kept for long.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sluice.domain.errors import Saturated, WorkerFailed
from sluice.worker.execution.backend import Backend, DetectsDeviceLoss, Item, Output

OOM_MESSAGE = "the device's memory does not suffice for this text beside what it holds"

logger = logging.getLogger(__name__)


class DeviceLost(Exception):
    """The device computes nothing any more, and will not for as long as this process lives."""


def run_batch(backend: Backend, items: Sequence[Item]) -> list[Output]:
    """One output per item, in order. Raises DeviceLost."""
    try:
        return _run(backend, items)
    except MemoryError as error:
        logger.warning("a batch does not fit into memory", extra={"items": len(items), "why": str(error)})
        if len(items) == 1:
            return [Saturated(OOM_MESSAGE)]
    shortest_first = sorted(range(len(items)), key=lambda place: len(items[place].text))
    middle = len(items) // 2
    outputs: dict[int, Output] = {}
    for places in (shortest_first[:middle], shortest_first[middle:]):
        outputs |= dict(zip(places, _half(backend, [items[place] for place in places]), strict=True))
    return [outputs[place] for place in range(len(items))]


def _half(backend: Backend, items: Sequence[Item]) -> list[Output]:
    """The outputs of items that stand shortest first; the longest are refused if not all of them fit."""
    fitting = len(items)
    while fitting:
        try:
            outputs = _run(backend, items[:fitting])
        except MemoryError:
            fitting = fitting - 1 if fitting == len(items) else fitting // 2
            continue
        return [*outputs, *[Saturated(OOM_MESSAGE)] * (len(items) - fitting)]
    return [Saturated(OOM_MESSAGE)] * len(items)


def _run(backend: Backend, items: Sequence[Item]) -> list[Output]:
    try:
        outputs = backend.execute(items)
        if len(outputs) == len(items):
            return outputs
        problem = f"the backend gave {len(outputs)} outputs for {len(items)} items"
        logger.error(problem)
    except MemoryError:
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        if isinstance(backend, DetectsDeviceLoss) and backend.is_device_lost():
            raise DeviceLost(problem) from error
        logger.exception("a batch failed", extra={"items": len(items)})
    if len(items) == 1:
        return [WorkerFailed(problem)]
    return [output for item in items for output in run_batch(backend, [item])]
