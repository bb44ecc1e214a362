"""What the device can do at best: figures are put against these."""

from __future__ import annotations

import torch

from benchmarks.figure import Figure
from benchmarks.gpu.arithmetic import rounding_errors
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.device import warm
from benchmarks.rounds import Rounds

REPEATS = 10
COPY_BYTES, SMOKE_COPY_BYTES = 4 << 30, 1 << 20
WIDTH, SMOKE_WIDTH = 8192, 128


def measure(bench: Bench) -> list[Figure]:
    """Copy bandwidth within the device's memory, and the rate of a large product in bf16."""
    return [_copy(bench), _product(bench)]


def copy_bytes_per_s(bench: Bench) -> Rounds:
    """Bytes read and written per second by a copy within the device's memory."""
    size = SMOKE_COPY_BYTES if bench.smoke else COPY_BYTES
    source = torch.ones(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    step = warm(lambda: target.copy_(source), bench.device)
    times = bench.time_in_turn({"copy_ms": step}, repeats=REPEATS)
    return Rounds({"per_s": [2 * size / value * 1000 for value in times.values["copy_ms"]]})


def _copy(bench: Bench) -> Figure:
    rates = [value / 1e12 for value in copy_bytes_per_s(bench).values["per_s"]]
    rounds = Rounds({"tb_per_s": rates})
    return Figure(
        what="copy within the device's memory, TB/s",
        target=None,
        measured=rounds.medians()["tb_per_s"],
        how="bytes read and written by a copy of 4 GiB (smoke: 1 MiB)",
        spread=(min(rates), max(rates)),
    )


def _product(bench: Bench) -> Figure:
    width = SMOKE_WIDTH if bench.smoke else WIDTH
    left, right = (torch.randn(width, width, dtype=torch.bfloat16, device=bench.device) for _ in range(2))
    step = warm(lambda: left @ right, bench.device)
    times = bench.time_in_turn({"product_ms": step}, repeats=REPEATS)
    errors = rounding_errors(bench.device)
    rates = [2 * width**3 / value / 1e9 for value in times.values["product_ms"]]
    return Figure(
        what="bf16 matrix product, TFLOP/s",
        target=None,
        measured=Rounds({"tflops": rates}).medians()["tflops"],
        how=f"{width} x {width} x {width}, random data; the notes show that fp32 elsewhere is true fp32, TF32 off",
        medians=times.medians(),
        notes={"rounding_errors": {name: float(f"{error:.1e}") for name, error in errors.items()}},
        spread=(min(rates), max(rates)),
    )
