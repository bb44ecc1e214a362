"""A batch for which memory does not suffice, and one whose device is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from sluice.domain.enums import Tier
from sluice.domain.errors import NoEndpoint, Saturated, WorkerFailed
from sluice.worker.execution.backend import Classification, Item, ModelSpec, Output
from sluice.worker.execution.batch_runner import DeviceLost, run_batch
from sluice.worker.execution.device_health import DeviceLossLatch, DeviceProber
from sluice.worker.executor import DeviceExecutor
from sluice.worker.resources.accelerator import AcceleratorMonitor
from tests.unit.worker.bench import ScriptedBackend, bench, echo, work
from tests.unit.worker.fake_accelerator import FakeAccelerator
from tests.unit.worker.ram import turns


class Tight:
    """Takes batches of so many characters, and keeps what it was asked. A text `poison` fails whatever there is."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked: list[list[str]] = []

    def execute(self, items: Sequence[Item]) -> list[Output]:
        self.asked.append([item.text for item in items])
        # Padded, as a model computes them.
        if len(items) * max(len(item.text) for item in items) > self.room:
            raise MemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        if any(item.text == "poison" for item in items):
            raise ValueError("cannot digest it")
        return echo(items)


def served(backend: Tight, *texts: str) -> list[str | None]:
    """Each text's answer, None where it was refused for want of memory."""
    outputs = run_batch(backend, [Item(text) for text in texts])  # type: ignore[arg-type]
    assert all(isinstance(one, Classification | Saturated) for one in outputs)
    return [one.label if isinstance(one, Classification) else None for one in outputs]


def test_a_batch_that_fits_is_run_once() -> None:
    backend = Tight(4)
    assert served(backend, "a", "bb") == ["a", "bb"]
    assert backend.asked == [["a", "bb"]]


def test_one_that_does_not_is_cut_in_two_and_answered_in_its_own_order() -> None:
    backend = Tight(8)
    assert served(backend, "dddd", "a", "cccc", "bb") == ["dddd", "a", "cccc", "bb"]
    # The short ones are not padded to the long ones any more.
    assert backend.asked == [["dddd", "a", "cccc", "bb"], ["a", "bb"], ["dddd", "cccc"]]


def test_of_a_half_that_does_not_fit_either_the_largest_is_refused() -> None:
    backend = Tight(8)
    assert served(backend, "a", "bb", "ccc", "d" * 9) == ["a", "bb", "ccc", None]
    assert backend.asked[2:] == [["ccc", "d" * 9], ["ccc"]]


def test_one_text_that_does_not_fit_alone_is_refused_and_not_tried_again() -> None:
    backend = Tight(3)
    assert served(backend, "long") == [None]
    assert backend.asked == [["long"]]


def test_where_nothing_fits_everything_is_refused_after_a_few_tries() -> None:
    backend = Tight(0)
    assert served(backend, *["a"] * 128) == [None] * 128
    assert len(backend.asked) <= 1 + 2 * 8


@pytest.mark.parametrize("room", range(0, 60, 7))
def test_every_item_is_answered_once_whatever_there_is(room: int) -> None:
    texts = ["x" * (1 + 7 * place % 11) for place in range(9)]
    answers = served(Tight(room), *texts)
    assert all(answer in {text, None} for answer, text in zip(answers, texts, strict=True))
    refused = [len(text) for text, answer in zip(texts, answers, strict=True) if answer is None]
    kept = [len(text) for text, answer in zip(texts, answers, strict=True) if answer is not None]
    # Of each half the longest go: no text is refused while two longer ones are kept.
    assert all(sum(length > one for length in kept) <= len(texts) // 2 for one in refused)


def test_a_poisonous_text_costs_only_itself_in_a_batch_that_was_cut_too() -> None:
    backend = Tight(12)
    outputs = run_batch(backend, [Item(text) for text in ("poison", "a", "bbbbb", "cc")])  # type: ignore[arg-type]
    assert isinstance(outputs[0], WorkerFailed)
    assert [one.label for one in outputs[1:] if isinstance(one, Classification)] == ["a", "bbbbb", "cc"]


class Falling(ScriptedBackend):
    """Its device falls off the bus when it is asked to."""

    lost = False

    def execute(self, items: Sequence[Item]) -> list[Output]:
        self.lost = self.lost or any(item.text == "pull" for item in items)
        if self.lost:
            self.calls.append([item.text for item in items])
            raise RuntimeError("CUDA error: unspecified launch failure")
        return super().execute(items)

    def is_device_lost(self) -> bool:
        return self.lost


@asynccontextmanager
async def falling() -> AsyncIterator[tuple[Falling, DeviceExecutor, DeviceLossLatch]]:
    """A worker's device with one backend, and who is told when it is lost."""
    made: list[Falling] = []

    def load(spec: ModelSpec) -> Falling:
        made.append(Falling(spec))
        return made[-1]

    async with bench(load=load) as here:
        await here.catalog.load(model="m", tier=Tier.LIGHT, checkpoint="identity")
        loss = DeviceLossLatch()
        yield made[0], DeviceExecutor(here.device._thread, here.catalog, loss=loss), loss


async def test_a_batch_that_loses_the_device_is_not_run_again_and_those_behind_it_are_given_back() -> None:
    async with falling() as (backend, device, loss):
        batches = [work("a"), work("b", "pull", first=2), work("c", first=4)]
        for one in batches:
            device.submit(one)
        first, second, third = await asyncio.wait_for(asyncio.gather(*(one.done for one in batches)), 20)
        await asyncio.wait_for(loss.wait(), 20)
    assert first.outputs == {1: Classification("a", 1.0)}
    # Either of the two may have been the cause, and is tried once more elsewhere, alone.
    assert {type(output) for output in second.outputs.values()} == {WorkerFailed}
    # Nobody has begun this one: it costs its router no try.
    assert {type(output) for output in third.outputs.values()} == {NoEndpoint}
    assert backend.calls == [["a"], ["b", "pull"]]
    assert loss.why == "RuntimeError: CUDA error: unspecified launch failure"


async def test_a_device_that_cannot_be_read_for_a_while_is_tried_though_nobody_asks_it_anything() -> None:
    accelerator, now = FakeAccelerator(), 0.0
    async with falling() as (backend, device, loss):
        watch = DeviceProber(AcceleratorMonitor(accelerator), device.probe, clock=lambda: now)
        accelerator.fault = RuntimeError("Xid 79: the GPU has fallen off the bus")
        backend.lost = True
        watch.look()
        now = 2.9
        watch.look()
        await turns()
        assert loss.why == ""
        now = 3.0
        watch.look()
        await asyncio.wait_for(loss.wait(), 20)


async def test_a_driver_that_falters_costs_no_device_that_computes() -> None:
    accelerator, now = FakeAccelerator(), 0.0
    async with falling() as (backend, device, loss):
        watch = DeviceProber(AcceleratorMonitor(accelerator), device.probe, clock=lambda: now)
        accelerator.fault = RuntimeError("NVML: unknown error")
        for _ in range(20):
            watch.look()
            now += 1.0
        one = work("a")
        device.submit(one)
        assert (await asyncio.wait_for(one.done, 20)).outputs == {1: Classification("a", 1.0)}
        # Readable now and then, it is not even tried.
        backend.lost = True
        for number in range(20):
            accelerator.fault = None if number % 3 == 0 else RuntimeError("NVML: unknown error")
            watch.look()
            now += 1.0
        await turns()
        assert loss.why == ""


def test_a_failure_on_a_device_that_still_computes_is_the_items_own() -> None:
    class Odd(Tight):
        def is_device_lost(self) -> bool:
            return False

    outputs = run_batch(Odd(99), [Item("poison"), Item("a")])  # type: ignore[arg-type]
    assert [type(one) for one in outputs] == [WorkerFailed, Classification]


def test_what_loses_the_device_alone_is_not_answered_here() -> None:
    class Dead(Tight):
        def is_device_lost(self) -> bool:
            return True

    with pytest.raises(DeviceLost, match="cannot digest it"):
        run_batch(Dead(99), [Item("poison")])  # type: ignore[arg-type]
