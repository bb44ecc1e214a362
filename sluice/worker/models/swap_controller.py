"""Level 2 at a worker, carried out: models that can be held in several ways, moved step by step towards the wish.

It looks at the wish ten times a second and remembers none, so a directive that changes in the middle of a swap is
obeyed when the step that runs has ended, and one that was missed is obeyed at the next look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sluice.domain.errors import SluiceError
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.forms import ModelForms, ModelSlot
from sluice.worker.models.registry import ModelRegistry
from sluice.worker.models.swap_policy import Action, DesiredState, MemoryBudget, Residency, next_step
from sluice.worker.resources.reading import Memory

POLL_S = 0.1
# A variant serves for at least so long, so that no request finds one after the other gone.
SETTLE_S = 1.0
# How old a reading of memory may be: what was loaded or freed since then is not in it.
READING_LAG_S = 0.25
NO_ROOM = "there is no room to load"
_LEAVING = frozenset({Action.RELEASE, Action.WITHDRAW})

logger = logging.getLogger(__name__)


class SwapController:
    """Keeps models as `wish` has them. `memory` is that in which they live, None while it is unknown.

    Two forms of a model are held together up to `ceiling` of it. Beside their full models distilled copies take up to
    `light_budget` of it, all together. Use from one event loop.
    """

    def __init__(
        self,
        catalog: ModelRegistry,
        *,
        wish: Callable[[], DesiredState],
        memory: Callable[[], Memory | None],
        ceiling: float,
        light_budget: float,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._wish = wish
        self._memory = memory
        self._ceiling = ceiling
        self._light_budget = light_budget
        self._settle_s = settle_s
        self._clock = clock
        self._ladders: list[ModelForms] = []
        self._departures: dict[ModelForms, asyncio.Task[bool]] = {}
        self._moved_at = float("-inf")
        self._is_broken = False

    @property
    def trouble(self) -> str:
        """Why swaps were rolled back, or wait; empty when there is none that does."""
        troubles = [slot.trouble for ladder in self._ladders for slot in ladder.slots]
        return "; ".join(trouble for trouble in troubles if trouble)

    def full_reload_ratio(self) -> float | None:
        """What models take of memory, beyond what then goes, when they are held as configured again, in [0, 1].

        None when all are, or while memory is unknown.
        """
        return self._ratio([ladder.held_to_come_back() for ladder in self._ladders])

    def lowering_ratio(self) -> float | None:
        """What holding models in their lower precisions would free of memory, in [0, 1]. None when that is nothing."""
        return self._ratio([ladder.freed_by_lowering() for ladder in self._ladders])

    async def add(
        self, full: ModelSpec, *, light: ModelSpec | None = None, lower: str = "", is_fixed: bool = False
    ) -> None:
        """Try what may take over, serve `full`, and look after all of them from now on.

        `light` is the distilled copy, `lower` the lower precision of the first step; a model that `is_fixed` follows no
        order to hold it in another precision. Raises InvalidRequest naming the file or field at fault, `distilled` or
        `lower_precision` if it is that, or Saturated.
        """
        ladder = ModelForms(self._catalog, full=full, light=light, lower=lower, is_fixed=is_fixed)
        if ladder.lowered is not None:
            await self._try(ladder, ladder.lowered, field="lower_precision")
            await ladder.take(Action.RELEASE, ladder.lowered, now=self._clock())
        if ladder.light is not None:
            await self._try(ladder, ladder.light, field="distilled")
        self._ladders.append(ladder)
        if ladder.light is not None:
            if self._memory() is None:
                # An accelerator is read in the background, and for the first time when it is first asked of.
                await asyncio.sleep(READING_LAG_S)
            if not self._keeps_light(ladder):
                await ladder.take(Action.RELEASE, ladder.light, now=self._clock())
        await ladder.take(Action.LOAD, ladder.full, now=self._clock())
        await ladder.take(Action.SERVE, ladder.full, now=self._clock())

    async def run(self) -> None:
        """Follow the wish until cancelled. Trouble with one model ends nothing, and holds up no other."""
        try:
            while True:
                ladders = [ladder for ladder in self._ladders if ladder not in self._departures]
                moved = [await self._try_to_advance(ladder) for ladder in ladders]
                if not any(moved):
                    await asyncio.sleep(POLL_S)
        finally:
            for departure in self._departures.values():
                departure.cancel()

    async def _try(self, ladder: ModelForms, slot: ModelSlot, *, field: str) -> None:
        try:
            await ladder.take(Action.LOAD, slot, now=self._clock())
        except SluiceError as error:
            error.field = field
            raise

    async def _try_to_advance(self, ladder: ModelForms) -> bool:
        try:
            moved = await self._advance(ladder)
        except Exception:
            if not self._is_broken:
                logger.exception("no step could be decided")
            self._is_broken = True
            return False
        self._is_broken = False
        return moved

    async def _advance(self, ladder: ModelForms) -> bool:
        """Take the ladder's next step if there is one and its time has come; returns whether it succeeded by now."""
        if ladder.externally_unloaded:
            await self._let_go(ladder)
            return False
        now = self._clock()
        move = self._next_move(ladder, now=now)
        if move is None or not self._is_due(*move, ladder, now=now):
            return False
        act, slot = move
        if act in _LEAVING and slot.is_writing:
            # Texts take as long as they take, and no other model waits for them.
            departure = self._departures[ladder] = asyncio.create_task(self._move(ladder, act, slot, now=now))
            departure.add_done_callback(lambda _: self._departures.pop(ladder, None))
            return False
        return await self._move(ladder, act, slot, now=now)

    async def _move(self, ladder: ModelForms, act: Action, slot: ModelSlot, *, now: float) -> bool:
        step = f"{act.value} {slot.name}"
        extra = {"model": slot.spec.model, "checkpoint": slot.spec.checkpoint.name, "step": step}
        try:
            await ladder.take(act, slot, now=now)
        except Exception as error:
            why = error.message if isinstance(error, SluiceError) else f"{type(error).__name__}: {error}"
            bar_s = slot.failed(f"{step} of {slot.spec.model}: {why}", self._clock())
            logger.exception("a swap is rolled back", extra={**extra, "why": why, "again_in_s": bar_s})
            return False
        finally:
            self._moved_at = self._clock()
        logger.info("swap", extra={**extra, "took_s": self._moved_at - now})
        return True

    def _next_move(self, ladder: ModelForms, *, now: float) -> tuple[Action, ModelSlot] | None:
        wanted, beside = ladder.wanted(self._wish())
        slots = ladder.slots
        sides = [slot.side(now, stays=slot is ladder.light and self._keeps_light(ladder)) for slot in slots]
        step = next_step(
            slots.index(wanted), sides, self._budget(), beside=None if beside is None else slots.index(beside)
        )
        waits = step is None and wanted.held is None and not sides[slots.index(wanted)].barred
        if now - self._moved_at >= READING_LAG_S:
            for slot in slots:
                _tell_room(slot, lacks_room=waits and slot is wanted)
        return None if step is None else (step.act, slots[step.rung])

    def _is_due(self, act: Action, slot: ModelSlot, ladder: ModelForms, *, now: float) -> bool:
        if act in _LEAVING:
            return slot.served_at is None or now - slot.served_at >= self._settle_s
        serves = any(one.place is Residency.SERVING for one in ladder.slots)
        return act is not Action.LOAD or not serves or now - self._moved_at >= READING_LAG_S

    def _budget(self) -> MemoryBudget:
        memory = self._memory()
        return MemoryBudget(None if memory is None else self._ceiling * memory.limit_bytes - memory.used_bytes)

    def _keeps_light(self, ladder: ModelForms) -> bool:
        memory = self._memory()
        if memory is None:
            return False
        # Those that came first are kept first.
        before = self._ladders[: self._ladders.index(ladder) + 1]
        copies = sum(one.light.size_bytes for one in before if one.light is not None)
        return copies <= self._light_budget * memory.limit_bytes

    def _ratio(self, sizes: list[float]) -> float | None:
        memory = self._memory() if any(sizes) else None
        return None if memory is None else min(1.0, sum(sizes) / memory.limit_bytes)

    async def _let_go(self, ladder: ModelForms) -> None:
        self._ladders.remove(ladder)
        extra = {"model": ladder.full.spec.model}
        logger.warning("A model is no longer swapped, because what served was unloaded.", extra=extra)
        await ladder.let_go()


def _tell_room(slot: ModelSlot, *, lacks_room: bool) -> None:
    trouble = f"{slot.spec.model}: {NO_ROOM} {slot.name}"
    if lacks_room and not slot.trouble:
        extra = {"model": slot.spec.model, "wanted": slot.name, "bytes": slot.size_bytes}
        logger.warning("there is no room for what is wanted", extra=extra)
        slot.trouble = trouble
    elif not lacks_room and slot.trouble == trouble:
        slot.trouble = ""
