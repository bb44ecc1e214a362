"""What the parts of the GPU benchmark are made of: memory that is counted and bounded, batches that are looked for."""

from __future__ import annotations

import gc

import pytest

pytest.importorskip("torch")

import torch

from benchmarks.gpu import batch, floors
from benchmarks.gpu.arithmetic import fp32_products, kernels_by_trial, rounding_errors
from benchmarks.gpu.batch import largest
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.device import describe, milliseconds, pick
from benchmarks.gpu.meter import HostMeter

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]
CPU = torch.device("cpu")
BENCH = Bench(CPU, smoke=True, graphs=False)


@pytest.mark.parametrize("wanted", [0, 1, 2, 3, 31, 32, 33, 64, 99, 100])
def test_the_largest_batch_is_found_with_few_trials(wanted: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= wanted

    assert largest(fits, most=100) == wanted
    assert len(tried) == len(set(tried)) <= 14


def test_no_batch_above_the_most_is_tried() -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return True

    assert largest(fits, most=100) == 100
    assert max(tried) == 100


def test_a_host_meter_counts_what_lives_and_the_most_that_lived() -> None:
    meter = HostMeter()
    with meter.watching():
        kept = torch.zeros(1000)
        view = kept.view(10, 100)
        assert meter.allocated() == 4000

        def double() -> None:
            torch.ones(500, dtype=torch.float64)

        assert meter.peak(double) == (8000, 8000)
        assert meter.allocated() == 4000
        del kept
        assert meter.allocated() == 4000, "a view holds its storage"
        del view
        assert meter.allocated() == 0


def test_a_host_meter_gives_no_more_than_is_allowed() -> None:
    meter = HostMeter()
    with meter.watching():
        with meter.limited(4096):
            first = torch.zeros(1024, dtype=torch.uint8)
            with pytest.raises(torch.OutOfMemoryError):
                torch.zeros(4096, dtype=torch.uint8)
            gc.collect()
            second = torch.zeros(3072, dtype=torch.uint8)
        assert len(first) + len(second) == meter.allocated() == 4096
        torch.zeros(4096, dtype=torch.uint8)


def test_in_the_same_memory_mixed_takes_the_larger_batch_and_the_notes_say_why() -> None:
    (figure,) = batch.measure(BENCH)
    assert figure.medians["fp32_batch"] >= batch.SMOKE_BATCH
    assert figure.measured == figure.medians["mixed_batch"] / figure.medians["fp32_batch"] > 2
    fp32, mixed = figure.notes["fp32"], figure.notes["mixed"]
    assert mixed["weights_mib"] == pytest.approx(fp32["weights_mib"] / 2, abs=0.1)
    assert mixed["prompt_mib"] < fp32["prompt_mib"]


def test_floors_are_above_nought_and_have_no_target() -> None:
    for figure in floors.measure(BENCH):
        assert figure.measured > 0
        assert (figure.target, figure.is_met, figure.content()["target"]) == (None, None, None)


def test_true_fp32_is_exact_to_its_last_digits() -> None:
    errors = rounding_errors(CPU)
    assert errors.keys() == {"ieee_product", "ieee_convolution", "tf32_product", "tf32_convolution"}
    assert 0 < errors["ieee_product"] < 1e-5
    assert 0 < errors["ieee_convolution"] < 1e-5


def test_what_fp32_means_is_as_before_behind_a_measurement() -> None:
    def settings() -> tuple[str, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark

    before = settings()
    with fp32_products("tf32"), kernels_by_trial():
        assert settings() == ("high", True, True)
        with fp32_products("ieee"):
            assert settings() == ("highest", False, True)
        assert settings() == ("high", True, True)
    assert settings() == before


def test_the_host_has_a_clock_too() -> None:
    calls: list[None] = []
    assert milliseconds(lambda: calls.append(None), pick("cpu"), repeats=3) >= 0
    assert len(calls) == 3
    assert describe(CPU) == {"device": "cpu"}
