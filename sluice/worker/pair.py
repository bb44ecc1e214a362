"""A full model and its distilled copy at a worker: the moves that level 2 makes with them, one at a time."""

from __future__ import annotations

from sluice.worker.backend import ModelSpec
from sluice.worker.catalog import Catalog
from sluice.worker.likeness import check_alike, likeness_of
from sluice.worker.slot import Slot
from sluice.worker.swap_step import Step
from sluice.worker.weight_size import weight_bytes
from sluice.worker.writer import Servable

_OF_LIGHT = frozenset({Step.LOAD_LIGHT, Step.SERVE_LIGHT, Step.RELEASE_LIGHT, Step.WITHDRAW_LIGHT})


class Pair:
    """Two slots over one catalog. Make no move before the last one has ended."""

    def __init__(self, catalog: Catalog, *, full: ModelSpec, light: ModelSpec) -> None:
        self._catalog = catalog
        self.full, self.light = (
            Slot(spec, size_bytes=weight_bytes(spec.checkpoint, spec.precision)) for spec in (full, light)
        )

    def slot_of(self, step: Step) -> Slot:
        """Which of the two `step` moves."""
        return self.light if step in _OF_LIGHT else self.full

    async def take(self, step: Step, *, now: float) -> None:
        """Make the move. Raises SluiceError when a checkpoint is bad or has no room; it is then on disk."""
        slot = self.slot_of(step)
        match step:
            case Step.LOAD_FULL | Step.LOAD_LIGHT:
                await self._load(slot)
            case Step.SERVE_FULL | Step.SERVE_LIGHT:
                await self._serve(slot, now=now)
            case Step.WITHDRAW_LIGHT:
                await self._withdraw(slot)
            case Step.RELEASE_FULL | Step.RELEASE_LIGHT:
                await self._release(slot)

    @property
    def is_meddled_with(self) -> bool:
        """Whether somebody else has unloaded what serves here."""
        return any(
            slot.held is not None and slot.served_at is not None and not self._catalog.serves(slot.held)
            for slot in (self.full, self.light)
        )

    async def let_go(self) -> None:
        """Leave alone what serves, and free what does not."""
        for slot in (self.full, self.light):
            if slot.held is not None and slot.served_at is None:
                await self._release(slot)

    async def _load(self, slot: Slot) -> None:
        def examine(servable: Servable) -> None:
            seen = likeness_of(servable)
            if slot is self.light and self.full.likeness is not None:
                check_alike(seen, self.full.likeness)
            if slot is self.full and self.light.likeness is not None:
                check_alike(self.light.likeness, seen)
            slot.likeness = seen

        servable = await self._catalog.stage(slot.spec, examine)
        # Only now it is known in what precision the worker computes.
        slot.size_bytes = weight_bytes(slot.spec.checkpoint, servable.variant.precision)
        slot.loaded(servable)

    async def _serve(self, slot: Slot, *, now: float) -> None:
        try:
            self._catalog.serve(_held(slot))
        except BaseException:
            await self._release(slot)
            raise
        slot.served_at = now

    async def _withdraw(self, slot: Slot) -> None:
        await self._catalog.withdraw(_held(slot).variant.id)
        slot.served_at = None

    async def _release(self, slot: Slot) -> None:
        servable = _held(slot)
        try:
            if slot.served_at is None:
                await self._catalog.discard(servable)
            else:
                await self._catalog.unload(servable.variant.id)
        finally:
            slot.gone()


def _held(slot: Slot) -> Servable:
    if slot.held is None:
        raise RuntimeError(f"{slot.spec.checkpoint.name} is not in memory")
    return slot.held
