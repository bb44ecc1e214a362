"""Batch-time profiles: by a backend whose clock the test owns, and once by a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.cpu_worker.load import load
from sluice.domain.enums import Task, Tier
from sluice.domain.errors import InvalidRequest
from sluice.domain.variant import BatchTime, Variant
from sluice.engine.checkpoint.checkpoint import open_checkpoint
from sluice.engine.encoder.profiler import (
    RUNS,
    Measurable,
    PeakMemory,
    Profile,
    StallMeter,
    measure,
    processor_of,
    profile_of,
)
from sluice.testing.identity import IdentityBackend
from sluice.worker.execution.backend import Backend, Classification, Item, ModelSpec, Output
from sluice.worker.models.loaders import BATCHES, ServedTimes, with_profiling
from tests.unit.engine.tiny import LONGEST, write

pytestmark = pytest.mark.torch
TOKEN_S = 0.001
SHARE = StallMeter.share


class Clockwork:
    """Takes a millisecond for a token and, in turn, `drifts` seconds more for a batch, by its own clock."""

    def __init__(self, path: Path, *, max_batch_size: int = 128, drifts: Sequence[float] = (0.0,)) -> None:
        self.checkpoint = open_checkpoint(path)
        self.threads = 1
        self.runtime = "torch"
        self.variant = Variant(
            id="mine/light-fp32",
            model="mine",
            tier=Tier.LIGHT,
            task=Task.TEXT_CLASSIFICATION,
            max_tokens=self.checkpoint.max_tokens,
            max_batch_size=max_batch_size,
        )
        self.now = 100.0
        self.batches: list[tuple[int, int]] = []
        self.output: Output = Classification("joy", 1.0)
        self._drifts = drifts

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def execute(self, items: Sequence[Item]) -> list[Output]:
        (length,) = {len(self.checkpoint.tokenizer(item.text)["input_ids"]) for item in items}
        drift = self._drifts[len(self.batches) % len(self._drifts)]
        self.batches.append((len(items), length))
        self.now += len(items) * length * TOKEN_S + drift
        return [self.output] * len(items)

    def close(self) -> None:
        """There is nothing to free."""

    def clock(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is quiet, however many tests run on it."""
    monkeypatch.setattr(StallMeter, "share", lambda _: 0.0)


class Meter(StallMeter):
    """A machine that is as busy as the test says."""

    def __init__(self, stalled: float) -> None:
        super().__init__()
        self.stalled = stalled

    def share(self) -> float:
        return self.stalled


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "mine", "distilbert")


def shapes(points: Sequence[BatchTime]) -> list[tuple[int, int]]:
    return [(point.items, point.tokens) for point in points]


def test_sizes_and_lengths_up_to_the_variants_limits_are_measured_cheapest_first(mine: Path) -> None:
    backend = Clockwork(mine, max_batch_size=16)
    profile = measure(backend, seconds=1000, clock=backend.clock)
    assert shapes(profile.points) == [(1, 16), (4, 16), (1, LONGEST), (16, 16), (4, LONGEST), (16, LONGEST)]
    assert [point.time_s for point in profile.points] == pytest.approx(
        [items * tokens * TOKEN_S for items, tokens in shapes(profile.points)]
    )
    assert len(backend.batches) == (RUNS + 1) * len(profile.points)


def test_a_model_of_few_positions_is_measured_at_its_longest(tmp_path: Path) -> None:
    backend = Clockwork(write(tmp_path / "short", "distilbert", max_position_embeddings=10), max_batch_size=1)
    assert shapes(measure(backend, seconds=10, clock=backend.clock).points) == [(1, 10)]


def test_a_point_is_the_median_with_the_mean_deviation_from_it(mine: Path) -> None:
    # The first run is not counted; of the others two are late.
    backend = Clockwork(mine, max_batch_size=1, drifts=(9.0, 0.0, 0.0, 0.0, 0.1, 0.2))
    point = measure(backend, seconds=1000, clock=backend.clock).points[0]
    assert point.time_s == pytest.approx(0.016)
    assert point.deviation_s == pytest.approx(0.06)


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.0, 3.0])
def test_a_point_that_does_not_fit_into_the_time_is_not_begun(mine: Path, seconds: float) -> None:
    backend = Clockwork(mine)
    begun_at = backend.now
    profile = measure(backend, seconds=seconds, clock=backend.clock)
    assert 1 <= len(profile.points) < 8
    # The last run may be the one that uses the time up.
    assert backend.now - begun_at <= seconds + 1e-9


def test_a_backend_that_cannot_answer_has_no_points(mine: Path) -> None:
    backend = Clockwork(mine)
    backend.output = InvalidRequest("no", field="text")
    assert measure(backend, seconds=10, clock=backend.clock).points == ()


def test_what_does_not_fit_into_memory_ends_the_measuring_and_not_the_worker(mine: Path) -> None:
    class Small(Clockwork):
        def execute(self, items: Sequence[Item]) -> list[Output]:
            if len(items) >= 16:
                raise MemoryError("CUDA out of memory")
            return super().execute(items)

    backend = Small(mine)
    profile = measure(backend, seconds=1e9, clock=backend.clock)
    assert {point.items for point in profile.points} == {1, 4}


def test_the_same_model_on_the_same_machine_is_measured_once(mine: Path, tmp_path: Path) -> None:
    first, second = Clockwork(mine, max_batch_size=1), Clockwork(mine, max_batch_size=1)
    profile = profile_of(first, seconds=1, cache=tmp_path / "cache")
    assert profile_of(second, seconds=1, cache=tmp_path / "cache") == profile
    assert (bool(first.batches), second.batches) == (True, [])


def test_what_was_measured_on_a_busy_machine_is_measured_anew_and_the_quietest_is_kept(
    mine: Path, tmp_path: Path
) -> None:
    def start(stalled: float) -> tuple[Profile, bool]:
        backend = Clockwork(mine, max_batch_size=1)
        return profile_of(backend, seconds=1, cache=tmp_path, meter=Meter(stalled)), bool(backend.batches)

    busy, _ = start(0.9)
    assert all(point.deviation_s >= 0.9 * point.time_s for point in busy.points)
    busier, was_measured = start(1.0)
    assert (busier, was_measured) == (busy, True)
    less, _ = start(0.5)
    assert less.stalled == 0.5
    quiet, was_measured = start(0.0)
    assert (quiet.stalled, was_measured) == (0.0, True)
    assert quiet.widened() == quiet
    assert start(1.0) == (quiet, False)


def test_a_profile_of_an_earlier_release_is_measured_anew_once(mine: Path, tmp_path: Path) -> None:
    profile_of(Clockwork(mine, max_batch_size=1), seconds=1, cache=tmp_path)
    (file,) = (tmp_path / "profiles").iterdir()
    content = json.loads(file.read_text())
    del content["stalled"]
    file.write_text(json.dumps(content))
    again, later = Clockwork(mine, max_batch_size=1), Clockwork(mine, max_batch_size=1)
    for backend in (again, later):
        profile_of(backend, seconds=1, cache=tmp_path)
    assert (bool(again.batches), later.batches) == (True, [])


@pytest.mark.parametrize(("factor", "disagrees"), [(1.0, False), (3.0, False), (30.0, True), (1 / 30, True)])
def test_service_disagrees_with_a_profile_when_most_batches_do(factor: float, disagrees: bool) -> None:
    point = BatchTime(items=1, tokens=16, time_s=0.01, deviation_s=0.0)
    times = ServedTimes([point])
    told = [times.disagree([Item("x" * 56)], 0.01 * factor) for _ in range(BATCHES)]
    assert told == [False] * (BATCHES - 1) + [disagrees]


def test_the_pressure_counter_tells_how_busy_the_machine_was(tmp_path: Path) -> None:
    file = tmp_path / "cpu"
    now = iter([10.0, 12.0])
    file.write_text("some avg10=1.00 avg60=1.00 avg300=1.00 total=1000000\nfull avg10=0 total=0\n")
    meter = StallMeter(file, clock=lambda: next(now))
    file.write_text("some avg10=1.00 avg60=1.00 avg300=1.00 total=2500000\nfull avg10=0 total=0\n")
    assert SHARE(meter) == 0.75
    assert 0.0 <= SHARE(StallMeter(tmp_path / "none")) <= 1.0


CHANGES: dict[str, Callable[[Clockwork], object]] = {
    "threads": lambda backend: setattr(backend, "threads", 2),
    "precision": lambda backend: setattr(backend, "variant", changed(backend.variant, precision="bf16")),
    "batch size": lambda backend: setattr(backend, "variant", changed(backend.variant, max_batch_size=4)),
}


def changed(variant: Variant, **changes: Any) -> Variant:
    return replace(variant, **changes)


@pytest.mark.parametrize("change", CHANGES)
def test_another_model_or_another_way_to_run_it_is_measured_anew(mine: Path, tmp_path: Path, change: str) -> None:
    profile_of(Clockwork(mine, max_batch_size=1), seconds=1, cache=tmp_path)
    other = Clockwork(mine, max_batch_size=1)
    CHANGES[change](other)
    profile_of(other, seconds=1, cache=tmp_path)
    assert other.batches


def test_other_weights_are_measured_anew_and_those_that_are_still_served_are_not(mine: Path, tmp_path: Path) -> None:
    profile_of(Clockwork(mine, max_batch_size=1), seconds=1, cache=tmp_path)
    served = Clockwork(mine, max_batch_size=1)
    write(mine, "distilbert", seed=1)
    opened = Clockwork(mine, max_batch_size=1)
    for backend in (served, opened):
        profile_of(backend, seconds=1, cache=tmp_path)
    assert (bool(served.batches), bool(opened.batches)) == (False, True)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"points": [{"items": 1}], "memory_bytes": null}', b"\xff"])
def test_a_kept_profile_that_is_none_is_measured_anew(
    mine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    profile_of(Clockwork(mine, max_batch_size=1), seconds=1, cache=tmp_path)
    (file,) = (tmp_path / "profiles").iterdir()
    file.write_bytes(content)
    again = Clockwork(mine, max_batch_size=1)
    assert profile_of(again, seconds=1, cache=tmp_path).points
    assert again.batches
    assert "measured anew" in caplog.text
    assert json.loads(file.read_text())["points"]


def test_a_cache_that_cannot_be_written_stops_nobody(
    mine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file stands where the directory should be")
    assert profile_of(Clockwork(mine, max_batch_size=1), seconds=1, cache=tmp_path / "cache").points
    assert "a profile cannot be kept" in caplog.text


@pytest.mark.parametrize("tier", [Tier.LIGHT, Tier.QUANTIZED])
def test_a_worker_reports_what_was_measured_at_its_warm_up(
    tiny_checkpoints: dict[str, Path], int8_cache: Path, tmp_path: Path, tier: Tier
) -> None:
    spec = ModelSpec(model="mine", tier=tier, checkpoint=tiny_checkpoints["distilbert"], max_batch_size=4, threads=1)
    loader = with_profiling(partial(load, cache=str(int8_cache)), seconds=60, cache=str(tmp_path))
    backend = loader(spec)
    assert backend.variant.profile == ()
    backend.warm_up()
    assert {(1, 16), (4, LONGEST)} <= set(shapes(backend.variant.profile))
    assert all(point.time_s > 0 for point in backend.variant.profile)
    again = loader(spec)
    again.warm_up()
    assert again.variant == backend.variant
    assert isinstance(again.execute([Item("ok")])[0], Classification)
    again.close()


def test_without_seconds_a_loader_stays_as_it_is() -> None:
    def plain(spec: ModelSpec) -> Backend:
        return IdentityBackend(spec)

    assert with_profiling(plain, seconds=0, cache="unused") is plain


def test_a_backend_without_a_checkpoint_is_not_measured(tmp_path: Path) -> None:
    spec = ModelSpec(model="echo", tier=Tier.LIGHT, checkpoint=Path("identity"))
    assert not isinstance(IdentityBackend(spec), Measurable)
    backend = with_profiling(IdentityBackend, seconds=600, cache=str(tmp_path))(spec)
    backend.warm_up()
    assert (backend.variant.profile, list(tmp_path.iterdir())) == ((), [])


def test_the_processor_is_named_as_the_system_names_it(mine: Path, tmp_path: Path) -> None:
    variant = Clockwork(mine).variant
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Abacus 9000: Deluxe\nmodel name\t: Abacus 9000: Deluxe\n")
    assert processor_of(variant, info) == "Abacus 9000: Deluxe"
    assert processor_of(variant, tmp_path / "none")
    assert processor_of(changed(variant, device="hpu"), info) == "hpu"


def test_memory_is_counted_from_the_start_to_the_peak(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  1000 kB\nVmRSS:\t  1000 kB\n")
    memory = PeakMemory(tmp_path)
    status.write_text("VmHWM:\t  1500 kB\nVmRSS:\t  900 kB\n")
    assert memory.growth_bytes == 500 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"


def test_where_no_one_counts_memory_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert PeakMemory(tmp_path / "none").growth_bytes is None
    (tmp_path / "status").write_text("VmHWM:\tmany kB\n")
    assert PeakMemory(tmp_path).growth_bytes is None
