"""What a worker holds, from loading to unloading, and where it may look for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest, NoEndpoint, Saturated
from sluice.domain.variant import VariantState
from sluice.worker.execution.backend import Backend, ModelSpec
from sluice.worker.models.registry import IDENTITY, AlreadyHeld, UnknownCheckpoint
from tests.unit.polling import until
from tests.unit.worker.bench import HELD, Bench, ScriptedBackend, bench, work

NEW = "new/full-bf16"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A model root with the checkpoints `good` and `packed.pt`, and things that are none; outside of it lie secrets."""
    inside = tmp_path.resolve() / "models"
    (inside / "good").mkdir(parents=True)
    (inside / "file").write_text("no directory", encoding="utf-8")
    (inside / "packed.pt").touch()
    (tmp_path / "secret.pt").touch()
    (inside / "leak.pt").symlink_to(tmp_path / "secret.pt")
    (tmp_path / "secret").mkdir()
    (inside / "leak").symlink_to(tmp_path / "secret")
    (inside / "alias").symlink_to(inside / "good")
    (inside / "loop").symlink_to(inside / "loop")
    return inside


async def load(made: Bench, checkpoint: str = IDENTITY, model: str = "new", precision: str = "bf16") -> None:
    await made.catalog.load(model=model, tier=Tier.FULL, checkpoint=checkpoint, precision=precision)


def states(made: Bench) -> dict[str, VariantState]:
    return {variant.id: variant.state for variant in made.catalog.variants()}


async def test_a_checkpoint_is_warmed_up_before_it_serves_and_told_to_everybody() -> None:
    async with bench() as made:
        seen: list[dict[str, VariantState]] = []
        forget = made.catalog.watch(lambda: seen.append(states(made)))
        await load(made)
        forget()
        await load(made, model="later")
    assert [backend.warmed for backend in made.made] == [1, 1, 1]
    assert seen == [{HELD: VariantState.READY, NEW: VariantState.READY}]


async def test_a_backend_is_told_where_and_how(root: Path) -> None:
    async with bench(root=root) as made:
        await load(made, "alias")
    spec = made.made[1].spec
    assert (spec.model, spec.tier, spec.precision, spec.max_batch_size, spec.threads) == (
        "new",
        Tier.FULL,
        "bf16",
        16,
        3,
    )
    assert spec.checkpoint == root / "good"


async def test_a_file_that_holds_a_packed_checkpoint_is_handed_on(root: Path) -> None:
    async with bench(root=root) as made:
        await load(made, "packed.pt")
    assert made.made[1].spec.checkpoint == root / "packed.pt"


@pytest.mark.parametrize(
    "checkpoint",
    [
        "../secret",
        "good/../../secret",
        "leak",
        "leak/deeper",
        "leak.pt",
        "../secret.pt",
        "/",
        "/etc",
        "..",
        "good/../..",
        "loop",
        "nul\0byte",
    ],
)
async def test_nothing_outside_the_root_is_ever_read(root: Path, checkpoint: str) -> None:
    async with bench(root=root) as made:
        with pytest.raises(InvalidRequest) as caught:
            await load(made, checkpoint)
    assert not isinstance(caught.value, AlreadyHeld)
    assert caught.value.field == "checkpoint"
    assert len(made.made) == 1


@pytest.mark.parametrize("checkpoint", ["missing", "missing.pt", "file", "good/missing", "x" * 5_000])
async def test_a_directory_that_is_not_there_is_unknown(root: Path, checkpoint: str) -> None:
    async with bench(root=root) as made:
        with pytest.raises(UnknownCheckpoint) as caught:
            await load(made, checkpoint)
    assert caught.value.field == "checkpoint"
    assert len(made.made) == 1


class Cold(ScriptedBackend):
    """Loads, and cannot compute."""

    def warm_up(self) -> None:
        raise RuntimeError("the kernel is missing")


@pytest.mark.parametrize("how", ["refused", "crashes", "too large", "cold"])
async def test_a_load_that_fails_says_why_and_leaves_what_served_serving(how: str) -> None:
    made_cold: list[Cold] = []

    def loader(spec: ModelSpec) -> Backend:
        if spec.model == "m":
            return ScriptedBackend(spec)
        if how == "refused":
            raise InvalidRequest("config.json is missing", field="checkpoint")
        if how == "crashes":
            raise RuntimeError("no kernel image")
        if how == "too large":
            raise MemoryError
        made_cold.append(Cold(spec))
        return made_cold[-1]

    async with bench(load=loader) as made:
        await load(made, model="m")
        changes: list[int] = []
        made.catalog.watch(lambda: changes.append(1))
        with pytest.raises(Saturated if how == "too large" else InvalidRequest) as caught:
            await load(made)
        assert caught.value.field == "checkpoint"
        assert states(made) == {"m/full-bf16": VariantState.READY}
        assert changes == []
        one = work("text", variant="m/full-bf16")
        made.device.submit(one)
        await asyncio.wait_for(one.done, 20)
    assert all(backend.closed == 1 for backend in made_cold)


async def test_a_variant_that_is_held_is_not_replaced_and_the_second_copy_is_freed() -> None:
    async with bench() as made:
        with pytest.raises(AlreadyHeld):
            await made.catalog.load(model="m", tier=Tier.LIGHT, checkpoint=IDENTITY)
        assert made.catalog.backend(HELD) is made.backend
    assert [backend.closed for backend in made.made] == [0, 1]


async def test_of_two_loads_at_a_time_one_wins() -> None:
    async with bench() as made:
        outcomes = await asyncio.gather(load(made), load(made), return_exceptions=True)
        assert sorted(map(type, outcomes), key=str) == sorted([type(None), AlreadyHeld], key=str)
        assert states(made)[NEW] is VariantState.READY
    assert sum(backend.closed for backend in made.made) == 1


async def test_unloading_finishes_the_batches_that_were_taken_and_then_frees() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        taken = [work("a"), work("b", first=2)]
        for one in taken:
            made.device.submit(one)
        await made.begun()
        seen: list[dict[str, VariantState]] = []
        made.catalog.watch(lambda: seen.append(states(made)))
        unloading = asyncio.create_task(made.catalog.unload(HELD))
        await asyncio.sleep(0)
        assert seen == [{HELD: VariantState.UNLOADING}]
        with pytest.raises(NoEndpoint):
            made.catalog.backend(HELD)
        assert not made.catalog.ready
        with pytest.raises(UnknownCheckpoint):
            await made.catalog.unload(HELD)
        assert made.backend.closed == 0
        made.backend.go_on.set()
        await asyncio.wait_for(unloading, 20)
        assert all(one.done.done() for one in taken)
    assert made.backend.calls == [["a"], ["b"]]
    assert made.backend.closed == 1
    assert seen == [{HELD: VariantState.UNLOADING}, {}]


async def test_what_is_not_held_cannot_be_unloaded() -> None:
    async with bench() as made:
        with pytest.raises(UnknownCheckpoint) as caught:
            await made.catalog.unload("m/full-fp32")
    assert caught.value.field == "variant"


async def test_an_unloaded_variant_can_be_loaded_again() -> None:
    async with bench() as made:
        await made.catalog.unload(HELD)
        await made.catalog.load(model="m", tier=Tier.LIGHT, checkpoint=IDENTITY)
        assert made.catalog.backend(HELD) is made.made[1]


async def test_a_caller_who_goes_away_leaves_nothing_half_loaded_or_unloading_for_ever() -> None:
    async with bench() as made:
        made.backend.go_on.clear()
        running = work("running")
        made.device.submit(running)
        await made.begun()
        callers = [asyncio.create_task(load(made)), asyncio.create_task(made.catalog.unload(HELD))]
        await until(lambda: NEW in states(made))
        callers.append(asyncio.create_task(load(made, model="later")))
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        made.backend.go_on.set()
        await until(lambda: states(made) == {NEW: VariantState.READY, "later/full-bf16": VariantState.READY})
    assert [backend.closed for backend in made.made] == [1, 0, 0]
