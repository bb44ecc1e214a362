"""Level 2 at a worker, carried out: pairs of full model and distilled copy, moved step by step towards the wish.

It looks at the wish ten times a second and remembers none, so a directive that changes in the middle of a swap is
obeyed when the step that runs has ended, and one that was missed is obeyed at the next look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sluice.errors import SluiceError
from sluice.worker.backend import ModelSpec
from sluice.worker.catalog import Catalog
from sluice.worker.pair import Pair
from sluice.worker.reading import Memory
from sluice.worker.swap_step import Budget, Place, Step, Wish, next_step

POLL_S = 0.1
# A variant serves for at least so long, so that no request finds both of a pair gone, one after the other.
SETTLE_S = 1.0
# How old a reading of memory may be: what was loaded or freed since then is not in it.
READING_LAG_S = 0.25
NO_ROOM = "there is no room to load the full model again"
_LOADING = frozenset({Step.LOAD_FULL, Step.LOAD_LIGHT})
_LEAVING = frozenset({Step.RELEASE_FULL, Step.RELEASE_LIGHT, Step.WITHDRAW_LIGHT})

logger = logging.getLogger(__name__)


class Swapper:
    """Keeps pairs as `wish` has them. `memory` is that in which models live, None while it is unknown.

    Both of a pair are held up to `ceiling` of it. Beside their full models copies take up to `light_budget` of it, all
    together. Use from one event loop.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        wish: Callable[[], Wish],
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
        self._pairs: list[Pair] = []
        self._departures: dict[Pair, asyncio.Task[bool]] = {}
        self._moved_at = float("-inf")
        self._is_broken = False

    @property
    def trouble(self) -> str:
        """Why swaps were rolled back, or wait; empty when there is none that does."""
        troubles = [slot.trouble for pair in self._pairs for slot in (pair.full, pair.light)]
        return "; ".join(trouble for trouble in troubles if trouble)

    def full_reload_ratio(self) -> float | None:
        """What the full models that were released take of memory when they are loaded again, in [0, 1].

        None when none was released, or while memory is unknown.
        """
        released = [pair.full.size_bytes for pair in self._pairs if pair.full.held is None]
        memory = self._memory() if released else None
        return None if memory is None else min(1.0, sum(released) / memory.limit_bytes)

    async def add(self, *, full: ModelSpec, light: ModelSpec) -> None:
        """Try copy `light`, serve `full`, and look after both from now on.

        Raises InvalidRequest naming the file or field at fault, `distilled` if it is the copy's, or Saturated.
        """
        pair = Pair(self._catalog, full=full, light=light)
        try:
            await pair.take(Step.LOAD_LIGHT, now=self._clock())
        except SluiceError as error:
            error.field = "distilled"
            raise
        self._pairs.append(pair)
        if self._memory() is None:
            # An accelerator is read in the background, and for the first time when it is first asked of.
            await asyncio.sleep(READING_LAG_S)
        if not self._budget(pair).keeps_light:
            await pair.take(Step.RELEASE_LIGHT, now=self._clock())
        await pair.take(Step.LOAD_FULL, now=self._clock())
        await pair.take(Step.SERVE_FULL, now=self._clock())

    async def run(self) -> None:
        """Follow the wish until cancelled. Trouble with one pair ends nothing, and holds up no other pair."""
        try:
            while True:
                pairs = [pair for pair in self._pairs if pair not in self._departures]
                moved = [await self._try_to_advance(pair) for pair in pairs]
                if not any(moved):
                    await asyncio.sleep(POLL_S)
        finally:
            for departure in self._departures.values():
                departure.cancel()

    async def _try_to_advance(self, pair: Pair) -> bool:
        try:
            moved = await self._advance(pair)
        except Exception:
            if not self._is_broken:
                logger.exception("no step could be decided")
            self._is_broken = True
            return False
        self._is_broken = False
        return moved

    async def _advance(self, pair: Pair) -> bool:
        """Take the pair's next step if there is one and its time has come; returns whether it succeeded by now."""
        if pair.is_meddled_with:
            await self._let_go(pair)
            return False
        now = self._clock()
        step = self._next_step(pair, now=now)
        if step is None or not self._is_due(step, pair, now=now):
            return False
        if step in _LEAVING and pair.slot_of(step).is_writing:
            # Texts take as long as they take, and no other pair waits for them.
            departure = self._departures[pair] = asyncio.create_task(self._move(pair, step, now=now))
            departure.add_done_callback(lambda _: self._departures.pop(pair, None))
            return False
        return await self._move(pair, step, now=now)

    async def _move(self, pair: Pair, step: Step, *, now: float) -> bool:
        slot = pair.slot_of(step)
        extra = {"model": slot.spec.model, "checkpoint": slot.spec.checkpoint.name, "step": step.value}
        try:
            await pair.take(step, now=now)
        except Exception as error:
            why = error.message if isinstance(error, SluiceError) else f"{type(error).__name__}: {error}"
            bar_s = slot.failed(f"{step.value} of {slot.spec.model}: {why}", self._clock())
            logger.exception("a swap is rolled back", extra={**extra, "why": why, "again_in_s": bar_s})
            return False
        finally:
            self._moved_at = self._clock()
        logger.info("swap", extra={**extra, "took_s": self._moved_at - now})
        return True

    def _next_step(self, pair: Pair, *, now: float) -> Step | None:
        wish, full = self._wish(), pair.full.side(now)
        step = next_step(wish, full, pair.light.side(now), self._budget(pair))
        lacks_room = step is None and wish is Wish.FULL and not full.is_held and not full.barred
        if now - self._moved_at >= READING_LAG_S:
            self._tell_room(pair, lacks_room=lacks_room)
        return step

    def _is_due(self, step: Step, pair: Pair, *, now: float) -> bool:
        slots = (pair.full, pair.light)
        if step in _LEAVING:
            served_at = pair.slot_of(step).served_at
            return served_at is None or now - served_at >= self._settle_s
        serves = any(slot.side(now).place is Place.SERVING for slot in slots)
        return step not in _LOADING or not serves or now - self._moved_at >= READING_LAG_S

    def _budget(self, pair: Pair) -> Budget:
        memory = self._memory()
        if memory is None:
            return Budget(free_bytes=None, keeps_light=False)
        # Those that came first are kept first.
        copies = sum(one.light.size_bytes for one in self._pairs[: self._pairs.index(pair) + 1])
        return Budget(
            free_bytes=self._ceiling * memory.limit_bytes - memory.used_bytes,
            keeps_light=copies <= self._light_budget * memory.limit_bytes,
        )

    def _tell_room(self, pair: Pair, *, lacks_room: bool) -> None:
        trouble = f"{pair.full.spec.model}: {NO_ROOM}"
        if lacks_room and not pair.full.trouble:
            logger.warning(NO_ROOM, extra={"model": pair.full.spec.model, "bytes": pair.full.size_bytes})
            pair.full.trouble = trouble
        elif not lacks_room and pair.full.trouble == trouble:
            pair.full.trouble = ""

    async def _let_go(self, pair: Pair) -> None:
        self._pairs.remove(pair)
        logger.warning("no longer swapped: unloaded by hand", extra={"model": pair.full.spec.model})
        await pair.let_go()
