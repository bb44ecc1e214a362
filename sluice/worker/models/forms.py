"""A model of a worker and the ways to hold it, best first: as configured, in other precisions, and its distilled copy.

The moves that level 2 makes with them, one at a time.
"""

from __future__ import annotations

from dataclasses import replace

from sluice.domain.enums import Precision
from sluice.engine.checkpoint.weight_size import weight_bytes
from sluice.worker.execution.backend import ModelSpec, ReportsMemory
from sluice.worker.execution.generation_runner import GenerationRunner, LoadedModel
from sluice.worker.models.compatibility import ModelSignature, check_compatible, signature_of
from sluice.worker.models.registry import ModelRegistry
from sluice.worker.models.swap_policy import Action, DesiredState, FormState, Residency

# One checkpoint that may be in memory or not, and may serve or not: what is remembered of it between swaps.


FIRST_BAR_S = 5.0
LONGEST_BAR_S = 300.0


class ModelSlot:
    """`held` is in memory unless it is None, and serves since `served_at` unless that is None.

    After a failure loading is barred, each time for twice as long, and `trouble` says why until a loading succeeds.
    `name` is what logs call it. One that is `tried` has been loaded before, so that another may go for it.
    """

    def __init__(self, spec: ModelSpec, *, name: str, size_bytes: float, tried: bool = True) -> None:
        self.spec = spec
        self.name = name
        self.size_bytes = size_bytes
        self.held: LoadedModel | None = None
        self.served_at: float | None = None
        self.likeness: ModelSignature | None = None
        self.trouble = ""
        self._failures = 0
        self._tried = tried
        self._barred_until = float("-inf")

    def side(self, now: float, *, stays: bool = False) -> FormState:
        """The slot as decisions see it."""
        return FormState(
            place=self.place,
            size_bytes=self.size_bytes,
            stays=stays,
            barred=now < self._barred_until,
            proven=self._tried and not self._failures,
        )

    @property
    def place(self) -> Residency:
        """Where it is."""
        if self.held is None:
            return Residency.DISK
        return Residency.MEMORY if self.served_at is None else Residency.SERVING

    @property
    def is_writing(self) -> bool:
        """Whether texts are being written with it."""
        return isinstance(self.held, GenerationRunner) and not self.held.finished.is_set()

    def loaded(self, servable: LoadedModel) -> None:
        """It is in memory, warm and examined."""
        self.held = servable
        self._tried = True
        self.trouble = ""
        self._failures = 0

    def gone(self) -> None:
        """It is in memory no more."""
        self.held = self.served_at = None

    def failed(self, why: str, now: float) -> float:
        """It could not be moved; returns for how long its loading is barred, in seconds."""
        bar_s = min(LONGEST_BAR_S, FIRST_BAR_S * 2.0**self._failures)
        self.trouble = why
        self._failures += 1
        self._barred_until = now + bar_s
        return bar_s


FULL, LIGHT = "full", "light"


class ModelForms:
    """Slots over one catalog. Make no move before the last one has ended.

    `lower` is the precision that the model is held in at the first step of level 2, empty for none. One that `is_fixed`
    follows no order to hold it in another precision.
    """

    def __init__(
        self,
        catalog: ModelRegistry,
        *,
        full: ModelSpec,
        light: ModelSpec | None = None,
        lower: str = "",
        is_fixed: bool = False,
    ) -> None:
        self._catalog = catalog
        self._is_fixed = is_fixed
        self.full = _slot(full, FULL)
        self.light = None if light is None else _slot(light, LIGHT)
        self._precisions: dict[str, ModelSlot] = {}
        self._lower = lower
        if lower:
            self._precisions[lower] = _slot(replace(full, precision=lower), lower)

    @property
    def slots(self) -> tuple[ModelSlot, ...]:
        """All of them, in the order in which they are fallen back on."""
        light = () if self.light is None else (self.light,)
        return (self.full, *self._precisions.values(), *light)

    @property
    def lowered(self) -> ModelSlot | None:
        """The model in its lower precision, if it has one that is not its own."""
        return None if self._lower == self.full.spec.precision else self._precisions.get(self._lower)

    def wanted(self, wish: DesiredState) -> tuple[ModelSlot, ModelSlot | None]:
        """What shall serve, and what may beside it."""
        heavy = self._heavy(wish)
        # Written so that a share that is no number is one between none and all.
        if self.light is None or not wish.lowers or wish.copies <= 0.0:
            return heavy, None
        return self.light, None if wish.copies >= 1.0 else heavy

    def held_to_come_back(self) -> float:
        """Bytes that the model as configured takes more than what would go for it; 0 while it is in memory."""
        if self.full.held is not None:
            return 0.0
        goes = sum(slot.size_bytes for slot in self._precisions.values() if slot.held is not None)
        return max(0.0, self.full.size_bytes - goes)

    def freed_by_lowering(self) -> float:
        """Bytes that its lower precision would free; 0 if there is none, or the model is not in memory."""
        lowered = self.lowered
        if lowered is None or lowered.trouble or self.full.held is None:
            return 0.0
        return max(0.0, self.full.size_bytes - lowered.size_bytes)

    @property
    def externally_unloaded(self) -> bool:
        """Whether somebody else has unloaded what serves here."""
        return any(
            slot.held is not None and slot.served_at is not None and not self._catalog.serves(slot.held)
            for slot in self.slots
        )

    async def take(self, act: Action, slot: ModelSlot, *, now: float) -> None:
        """Make the move. Raises SluiceError when a checkpoint is bad or has no room; it is then on disk."""
        match act:
            case Action.LOAD:
                await self._load(slot)
            case Action.SERVE:
                await self._serve(slot, now=now)
            case Action.WITHDRAW:
                await self._catalog.withdraw(_held(slot).variant.id)
                slot.served_at = None
            case Action.RELEASE:
                await self._release(slot)

    async def let_go(self) -> None:
        """Leave alone what serves, and free what does not."""
        for slot in self.slots:
            if slot.place is Residency.MEMORY:
                await self._release(slot)

    def _heavy(self, wish: DesiredState) -> ModelSlot:
        ordered = wish.precision.held
        if wish.precision is Precision.OWN or self._is_fixed:
            return (self.lowered if wish.lowers else None) or self.full
        if self.full.spec.precision == ordered:
            return self.full
        if ordered not in self._precisions:
            # It has never been loaded here, so nothing goes for it before it is there.
            self._precisions[ordered] = _slot(replace(self.full.spec, precision=ordered), ordered, tried=False)
        return self._precisions[ordered]

    async def _load(self, slot: ModelSlot) -> None:
        def examine(servable: LoadedModel) -> None:
            if len(self.slots) == 1:
                return
            slot.likeness = signature_of(servable)
            if self.full.likeness is not None:
                copies = self.slots[1:] if slot is self.full else (slot,)
                for copy in copies:
                    if copy.likeness is not None:
                        check_compatible(copy.likeness, self.full.likeness)

        servable = await self._catalog.stage(slot.spec, examine)
        # Only now it is known which precision the worker has chosen, and what the device makes of it.
        slot.spec = replace(slot.spec, precision=servable.variant.precision)
        slot.size_bytes = _size_of(servable, slot.spec)
        slot.loaded(servable)

    async def _serve(self, slot: ModelSlot, *, now: float) -> None:
        try:
            self._catalog.serve(_held(slot))
        except BaseException:
            await self._release(slot)
            raise
        slot.served_at = now

    async def _release(self, slot: ModelSlot) -> None:
        servable = _held(slot)
        try:
            if slot.served_at is None:
                await self._catalog.discard(servable)
            else:
                await self._catalog.unload(servable.variant.id)
        finally:
            slot.gone()


def _slot(spec: ModelSpec, name: str, *, tried: bool = True) -> ModelSlot:
    return ModelSlot(spec, name=name, size_bytes=weight_bytes(spec.checkpoint, spec.precision), tried=tried)


def _size_of(servable: LoadedModel, spec: ModelSpec) -> float:
    return servable.held_bytes if isinstance(servable, ReportsMemory) else weight_bytes(spec.checkpoint, spec.precision)


def _held(slot: ModelSlot) -> LoadedModel:
    if slot.held is None:
        raise RuntimeError(f"{slot.spec.checkpoint.name} is not in memory")
    return slot.held
