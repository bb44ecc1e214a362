"""Memory that is counted, models that take some of it, and a worker whose swapper lives on it."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sluice.domain.enums import Tier
from sluice.engine.checkpoint.weight_size import weight_bytes
from sluice.worker.execution.backend import Backend, ModelSpec
from sluice.worker.models.swap_controller import SwapController
from sluice.worker.models.swap_policy import FULL_SERVICE, DesiredState
from sluice.worker.resources.reading import Memory
from tests.unit.worker.bench import Bench, ScriptedBackend, bench

LIMIT, FULL_BYTES, LIGHT_BYTES = 1_000, 400, 40
# A vector of fp32 stays one: the weights are a matrix of two rows, each of which has a scale of four bytes in fp8.
FP8_BYTES = FULL_BYTES // 4 + 2 * 4
FULL, LIGHT = "m/full-fp32", "m/light-fp32"
COPIES, SOME_COPIES = DesiredState(copies=1.0, lowers=True), DesiredState(copies=0.5, lowers=True)
LOWER = DesiredState(lowers=True)
READY, UNLOADING = "READY", "UNLOADING"


class Ram:
    """What is used of LIMIT, and the most that ever was. `known` is False while nobody can tell."""

    def __init__(self, used: int = 100) -> None:
        self.used = self.peak = used
        self.known = True

    def take(self, size: int) -> None:
        self.used += size
        self.peak = max(self.peak, self.used)

    def reading(self) -> Memory | None:
        return Memory(used_bytes=self.used, limit_bytes=LIMIT) if self.known else None


class Weighty(ScriptedBackend):
    """Takes as much of `ram` as its checkpoint's weights, until it is closed."""

    def __init__(self, spec: ModelSpec, ram: Ram) -> None:
        super().__init__(spec)
        self._ram = ram
        self._size = weight_bytes(spec.checkpoint, spec.precision or "fp32")
        ram.take(self._size)

    def close(self) -> None:
        super().close()
        self._ram.used -= self._size


def checkpoint(directory: Path, size: int) -> None:
    """A directory with `size` bytes of fp32 weights, as far as a file's header tells."""
    directory.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, size // 8], "data_offsets": [0, size]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


class Stage:
    """A bench with one model, `wish` that the test changes, and faults by checkpoint that it sets.

    A fault may be that of a checkpoint in one precision, `full in fp8`.
    """

    def __init__(self, ram: Ram, *, has_copy: bool = True, lower: str = "", is_fixed: bool = False) -> None:
        self.has_copy, self.lower, self.is_fixed = has_copy, lower, is_fixed
        self.ram = ram
        self.wish = FULL_SERVICE
        self.now = 0.0
        self.faults: dict[str, Exception] = {}
        self.backends: dict[str, list[Weighty]] = {"full": [], "light": []}
        self.bench: Bench
        self.swapper: SwapController
        self.tries: list[str] = []
        self.history: list[dict[str, str]] = []

    def load(self, spec: ModelSpec) -> Backend:
        self.tries.append(spec.checkpoint.name)
        name = spec.checkpoint.name
        fault = self.faults.get(name) or self.faults.get(f"{name} in {spec.precision}")
        if fault is not None:
            raise fault
        backend = Weighty(spec, self.ram)
        self.backends[name].append(backend)
        return backend

    def states(self) -> dict[str, str]:
        return {variant.id: variant.state.name for variant in self.bench.catalog.variants()}

    async def add(self) -> None:
        """Let the swapper look after the model, as at a worker's start."""
        spec = self.bench.catalog.spec
        await self.swapper.add(
            spec(model="m", tier=Tier.FULL, checkpoint="full"),
            light=spec(model="m", tier=Tier.LIGHT, checkpoint="light") if self.has_copy else None,
            lower=self.lower,
            is_fixed=self.is_fixed,
        )

    async def settle(self, wish: DesiredState) -> None:
        """Wish for `wish`, and take every step that there is to take."""
        self.wish = wish
        idle = 0
        while idle < 2:
            # Beyond every dwell, and short of every bar.
            self.now += 1.5
            moved = [await self.swapper._advance(ladder) for ladder in tuple(self.swapper._ladders)]
            idle = 0 if any(moved) else idle + 1

    async def in_vain(self, wish: DesiredState) -> None:
        """Wish for `wish` through 300 seconds in which no step succeeds."""
        self.wish = wish
        (ladder,) = self.swapper._ladders
        for _ in range(600):
            self.now += 0.5
            assert not await self.swapper._advance(ladder)

    async def flap(self, wishes: Sequence[DesiredState], *, seed: int) -> None:
        """Let the swapper follow one after the other of `wishes`, and in the end full service."""
        dice = random.Random(seed)
        async with following(self.swapper):
            for _ in range(40):
                self.wish = dice.choice(wishes)
                self.now += dice.random() * 2
                await asyncio.sleep(dice.random() * 0.01)
            self.wish = FULL_SERVICE
            await self.comes_back()

    async def comes_back(self) -> None:
        """Let time pass until the full model serves, and nothing else."""
        for _ in range(400):
            self.now += 1.0
            await asyncio.sleep(0.005)
            if self.states() == {FULL: READY}:
                break
        assert self.states() == {FULL: READY}


@asynccontextmanager
async def stage(
    root: Path,
    *,
    ram: Ram | None = None,
    ceiling: float = 0.92,
    light_budget: float = 0.05,
    add: bool = True,
    has_copy: bool = True,
    lower: str = "",
    is_fixed: bool = False,
) -> AsyncIterator[Stage]:
    """A worker that serves `m/full-fp32` and has its copy in memory, unless it has none."""
    checkpoint(root / "full", FULL_BYTES)
    checkpoint(root / "light", LIGHT_BYTES)
    made = Stage(ram or Ram(), has_copy=has_copy, lower=lower, is_fixed=is_fixed)
    async with bench(load=made.load, root=root) as made.bench:
        made.swapper = SwapController(
            made.bench.catalog,
            wish=lambda: made.wish,
            memory=made.ram.reading,
            ceiling=ceiling,
            light_budget=light_budget,
            clock=lambda: made.now,
        )
        made.bench.catalog.watch(lambda: made.history.append(made.states()))
        if add:
            await made.add()
        made.history.clear()
        try:
            yield made
        finally:
            for backends in made.backends.values():
                for backend in backends:
                    backend.go_on.set()


@asynccontextmanager
async def following(swapper: SwapController) -> AsyncIterator[None]:
    """Let `swapper` follow the wish, as in a worker. It may not end by itself."""
    running = asyncio.create_task(swapper.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def turns(count: int = 20) -> None:
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0.005)
