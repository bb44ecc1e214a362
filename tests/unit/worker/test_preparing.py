"""What is prepared ahead of the device: the next batches, never in anybody's way, and never believed blindly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sluice.domain.enums import Tier
from sluice.domain.errors import Cancelled, Expired, WorkerFailed
from sluice.worker.execution.backend import Backend, Classification, Item, ModelSpec, Output, SupportsPrefetch
from sluice.worker.executor import DeviceExecutor
from sluice.worker.models.loaders import ProfiledBackend
from tests.unit.polling import until
from tests.unit.worker.bench import HELD, WAIT_S, Bench, ScriptedBackend, bench, work

PREPARED = "prepared: "


@dataclass(frozen=True, slots=True)
class Ready(Item):
    """An item that was prepared."""


class PreparingBackend(ScriptedBackend):
    """Marks what it prepared, and counts it. While `may_prepare` is cleared it holds the preparing thread."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec, marked)
        self.prepared: list[list[str]] = []
        self.threads: set[str] = set()
        self.preparation: Callable[[Sequence[Item]], Sequence[Item]] = ready
        self.may_prepare = threading.Event()
        self.may_prepare.set()

    def prepare(self, items: Sequence[Item]) -> Sequence[Item]:
        self.prepared.append([item.text for item in items])
        self.threads.add(threading.current_thread().name)
        assert self.may_prepare.wait(WAIT_S)
        return self.preparation(items)


def ready(items: Sequence[Item]) -> Sequence[Item]:
    return [Ready(item.text) for item in items]


def marked(items: Sequence[Item]) -> list[Output]:
    """Each item's text as its label, with a mark if it was prepared."""
    return [Classification(f"{PREPARED if isinstance(item, Ready) else ''}{item.text}", 1.0) for item in items]


class Held(Bench):
    """A bench whose device has a preparing thread."""

    backend: PreparingBackend

    async def busy(self) -> None:
        """Keep the device busy with a first batch until the backend may go on."""
        self.backend.go_on.clear()
        self.device.submit(work("first"))
        await self.begun()


@asynccontextmanager
async def holding() -> AsyncIterator[Held]:
    """A device that prepares, over one PreparingBackend."""
    made: list[ScriptedBackend] = []

    def load(spec: ModelSpec) -> Backend:
        made.append(PreparingBackend(spec))
        return made[-1]

    async with bench(load=load) as outer:
        await outer.catalog.load(model="m", tier=Tier.LIGHT, checkpoint="identity")
        thread = outer.catalog._device_thread
        assert isinstance(thread, ThreadPoolExecutor)
        with ThreadPoolExecutor(1, thread_name_prefix="preparer") as preparer:
            try:
                yield Held(DeviceExecutor(thread, outer.catalog, preparer=preparer), outer.catalog, made)
            finally:
                for backend in made:
                    backend.go_on.set()


async def test_the_next_batch_is_prepared_while_the_first_is_computed() -> None:
    async with holding() as made:
        await made.busy()
        second, third = work("a", "b", first=2), work("c", first=4)
        made.device.submit(second)
        made.device.submit(third)
        await until(lambda: made.backend.prepared == [["a", "b"], ["c"]])
        assert made.backend.calls == [["first"]]
        made.backend.go_on.set()
        done, last = await asyncio.wait_for(asyncio.gather(second.done, third.done), WAIT_S)
    assert done.outputs == {2: Classification(f"{PREPARED}a", 1.0), 3: Classification(f"{PREPARED}b", 1.0)}
    assert last.outputs == {4: Classification(f"{PREPARED}c", 1.0)}
    assert {name.partition("_")[0] for name in made.backend.threads} == {"preparer"}


async def test_where_the_device_is_free_nothing_is_handed_about() -> None:
    async with holding() as made:
        for text in ("a", "b"):
            one = work(text)
            made.device.submit(one)
            done = await asyncio.wait_for(one.done, WAIT_S)
            assert done.outputs == {1: Classification(text, 1.0)}
    assert made.backend.prepared == []


async def test_cancellation_and_deadlines_are_looked_at_when_the_batch_is_begun() -> None:
    async with holding() as made:
        await made.busy()
        waiting = work("unwanted", "wanted", "late", first=2)
        made.device.submit(waiting)
        await until(lambda: made.backend.prepared)
        waiting.cancelled.add(2)
        waiting.items[2].deadline = 0.0
        made.backend.go_on.set()
        done = await asyncio.wait_for(waiting.done, WAIT_S)
    assert isinstance(done.outputs[2], Cancelled)
    assert done.outputs[3] == Classification(f"{PREPARED}wanted", 1.0)
    assert isinstance(done.outputs[4], Expired)
    assert made.backend.calls == [["first"], ["wanted"]]


async def test_a_device_waits_for_a_preparation_that_was_begun() -> None:
    async with holding() as made:
        await made.busy()
        made.backend.may_prepare.clear()
        second = work("a", first=2)
        made.device.submit(second)
        made.backend.go_on.set()
        await until(lambda: made.backend.prepared)
        assert made.backend.calls == [["first"]]
        made.backend.may_prepare.set()
        done = await asyncio.wait_for(second.done, WAIT_S)
    assert done.outputs == {2: Classification(f"{PREPARED}a", 1.0)}


async def test_a_text_that_cannot_be_prepared_costs_only_itself() -> None:
    def poisonous(items: Sequence[Item]) -> list[Output]:
        if any(item.text == "poison" for item in items):
            raise ValueError("cannot digest it")
        return marked(items)

    def spoiled(items: Sequence[Item]) -> Sequence[Item]:
        poisonous(items)
        return ready(items)

    async with holding() as made:
        made.backend.answer, made.backend.preparation = poisonous, spoiled
        await made.busy()
        second, third = work("a", "poison", "b", first=2), work("c", first=5)
        made.device.submit(second)
        made.device.submit(third)
        made.backend.go_on.set()
        done, last = await asyncio.wait_for(asyncio.gather(second.done, third.done), WAIT_S)
    failed = done.outputs.pop(3)
    assert isinstance(failed, WorkerFailed)
    assert "cannot digest it" in failed.message
    assert done.outputs == {2: Classification("a", 1.0), 4: Classification("b", 1.0)}
    assert last.outputs == {5: Classification(f"{PREPARED}c", 1.0)}


async def test_a_preparation_that_miscounts_is_not_used() -> None:
    async with holding() as made:
        made.backend.preparation = lambda items: ready(items)[:1]
        await made.busy()
        second = work("a", "b", first=2)
        made.device.submit(second)
        made.backend.go_on.set()
        done = await asyncio.wait_for(second.done, WAIT_S)
    assert done.outputs == {2: Classification("a", 1.0), 3: Classification("b", 1.0)}


async def test_a_variant_can_be_unloaded_behind_what_was_prepared() -> None:
    async with holding() as made:
        await made.busy()
        second = work("a", first=2)
        made.device.submit(second)
        unloading = asyncio.create_task(made.catalog.unload(HELD))
        await until(lambda: made.backend.prepared)
        assert made.backend.closed == 0
        made.backend.go_on.set()
        done = await asyncio.wait_for(second.done, WAIT_S)
        await asyncio.wait_for(unloading, WAIT_S)
    assert done.outputs == {2: Classification(f"{PREPARED}a", 1.0)}
    assert made.backend.closed == 1


def test_a_profiled_backend_prepares_as_the_one_in_it_does(tmp_path: Path) -> None:
    spec = ModelSpec(model="m", tier=Tier.LIGHT, checkpoint=Path("identity"))
    inner, plain = PreparingBackend(spec), ScriptedBackend(spec)
    assert ProfiledBackend(inner, seconds=1, cache=tmp_path).prepare([Item("a")]) == [Ready("a")]
    assert not isinstance(plain, SupportsPrefetch)
    assert ProfiledBackend(plain, seconds=1, cache=tmp_path).prepare([Item("a")]) == [Item("a")]
