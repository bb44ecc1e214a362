"""A prefill in fp32 and mixed: launched operation by operation, as transformers does it, and as one graph."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.gpu.arithmetic import fp32_products
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.device import warm
from benchmarks.gpu.qwen import DTYPES, make_model
from benchmarks.gpu.steps import prefill

TARGET = Target(3.0)
BATCH, TOKENS = 8, 512
SMOKE_BATCH, SMOKE_TOKENS = 2, 16
REPEATS = 3
HOW = (
    "plain transformers, sdpa attention with what torch chooses for the type, 8 prompts of 512 tokens into a cache, "
    "logits of last tokens only; fp32 without TF32; {launched}, on both sides"
)


def measure(bench: Bench) -> list[Figure]:
    """How many times as fast mixed is, in both ways; TF32 beside it, without a target."""
    batch, tokens = (SMOKE_BATCH, SMOKE_TOKENS) if bench.smoke else (BATCH, TOKENS)
    steps: dict[str, Callable[[], object]] = {}
    for precision in DTYPES:
        bench.tell(f"prefill in {precision}: warming up")
        model = make_model(bench, precision)
        step = prefill(model, batch, tokens)
        with fp32_products("ieee"):
            steps[f"{precision}_eager_ms"] = warm(step, bench.device)
            steps[f"{precision}_graph_ms"] = bench.captured(step)
        if precision == "fp32":
            with fp32_products("tf32"):
                steps["tf32_graph_ms"] = bench.captured(step)
    bench.tell("prefill: measuring")
    with fp32_products("ieee"):
        rounds = bench.time_in_turn(steps, repeats=REPEATS)
    what, notes = "prefill 8 x 512, times as fast as fp32", {"graphs": bench.graphs}
    ways = {"eager": "each operation launched by Python", "graph": "captured as one graph"}
    return [
        *(
            ratio_figure(
                f"{what}: mixed, {way}",
                TARGET,
                rounds,
                of=f"fp32_{way}_ms",
                to=f"mixed_{way}_ms",
                how=HOW.format(launched=launched),
                notes=notes,
            )
            for way, launched in ways.items()
        ),
        ratio_figure(
            f"{what}: TF32, graph",
            None,
            rounds,
            of="fp32_graph_ms",
            to="tf32_graph_ms",
            how=HOW.format(launched=ways["graph"]),
            notes=notes,
        ),
    ]
