"""What a forward step takes of the device's memory: weights, and the most that it holds beside them."""

from __future__ import annotations

from benchmarks.figure import Figure, Target
from benchmarks.gpu.arithmetic import fp32_products
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.meter import Meter, meter_of
from benchmarks.gpu.qwen import DTYPES, make_model
from benchmarks.gpu.steps import prefill

TARGET = Target(0.45)
BATCH, TOKENS = 8, 512
SMOKE_BATCH, SMOKE_TOKENS = 2, 16
HOW = (
    "share of fp32's bytes that mixed does without: weights and the most that a prefill of 8 prompts of 512 tokens "
    "allocates, its cache included, logits of last tokens only, on both sides; without the driver's own memory"
)


def measure(bench: Bench) -> list[Figure]:
    """The share saved."""
    meter = meter_of(bench.device)
    with meter.watching(), fp32_products("ieee"):
        taken = {precision: _taken(bench, meter, precision) for precision in DTYPES}
    weights = {f"{name}_weights_mib": parts[0] / 2**20 for name, parts in taken.items()}
    totals = {f"{name}_mib": parts[1] / 2**20 for name, parts in taken.items()}
    return [
        Figure(
            what="memory saved, mixed against fp32, prefill 8 x 512",
            target=TARGET,
            measured=1 - totals["mixed_mib"] / totals["fp32_mib"],
            how=HOW,
            medians=totals | weights,
        )
    ]


def _taken(bench: Bench, meter: Meter, precision: str) -> tuple[int, int]:
    """Bytes of the weights alone, and with all that a step holds at its peak."""
    bench.tell(f"memory in {precision}")
    before = meter.allocated()
    model = make_model(bench, precision)
    weights = meter.allocated() - before
    batch, tokens = (SMOKE_BATCH, SMOKE_TOKENS) if bench.smoke else (BATCH, TOKENS)
    step = prefill(model, batch, tokens)
    step()
    most, _ = meter.peak(step)
    return weights, most - before
