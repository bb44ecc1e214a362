"""A decode step in fp32 and mixed, at batch 1 and 32: launched by Python, as one graph, and compiled as one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.figure import Figure, Target, ratio_figure
from benchmarks.gpu.arithmetic import fp32_products
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.device import warm
from benchmarks.gpu.floors import copy_bytes_per_s
from benchmarks.gpu.qwen import DTYPES, make_model, streamed_bytes
from benchmarks.gpu.steps import compiled_twin, decode

TARGET = Target(1.8)
BATCHES, CACHED = (1, 32), 512
SMOKE_CACHED = 16
REPEATS = 20
TUNED = {"coordinate_descent_tuning": True}
HOW = (
    "plain transformers, sdpa attention with what torch chooses for the type, one token more for texts of 512 in a "
    "cache of fixed size, all logits; fp32 without TF32; {launched}, on both sides"
)
Steps = dict[str, Callable[[], object]]


def measure(bench: Bench) -> list[Figure]:
    """How many times as fast mixed is, launched operation by operation, and as a graph, where nothing waits for Python.

    The target is asked of the graph.
    """

    def prepare(model: Any, batch: int, precision: str) -> Steps:
        step = decode(model, batch, _cached(bench))
        return {
            f"{precision}_eager_ms": warm(step, bench.device),
            f"{precision}_graph_ms": bench.captured(step),
        }

    ways = {"eager": "each operation launched by Python", "graph": "captured as one graph"}
    return _figures(bench, prepare, lambda model: model, ways)


def measure_compiled(bench: Bench) -> list[Figure]:
    """The same with fewer kernels, and less between them: layers are compiled."""
    backend = "aot_eager" if bench.smoke else "inductor"

    def made_of(model: Any) -> dict[str, Any]:
        options = {"compiled": None, "tuned": None if bench.smoke else TUNED}
        return {way: compiled_twin(model, backend=backend, options=chosen) for way, chosen in options.items()}

    def prepare(twins: Mapping[str, Any], batch: int, precision: str) -> Steps:
        return {
            f"{precision}_{way}_ms": bench.captured(warm(decode(twin, batch, _cached(bench)), bench.device))
            for way, twin in twins.items()
        }

    ways = {
        "compiled": "layers compiled by torch.compile with its defaults, and all of it captured as one graph",
        "tuned": "the same, but that products of one row are reductions, whose shapes were tried out on the device",
    }
    return _figures(bench, prepare, made_of, ways)


def _cached(bench: Bench) -> int:
    return SMOKE_CACHED if bench.smoke else CACHED


def _figures(
    bench: Bench,
    prepare: Callable[[Any, int, str], Steps],
    made_of: Callable[[Any], Any],
    ways: Mapping[str, str],
) -> list[Figure]:
    """A figure for each batch and way; `made_of` gives what is asked of a model."""
    steps: dict[int, Steps] = {batch: {} for batch in BATCHES}
    streamed: dict[str, int] = {}
    with fp32_products("ieee"):
        for precision in DTYPES:
            model = make_model(bench, precision)
            streamed[precision] = streamed_bytes(model)
            asked = made_of(model)
            for batch in BATCHES:
                bench.tell(f"decode at batch {batch} in {precision}: {', '.join(ways)}")
                steps[batch] |= prepare(asked, batch, precision)
        return [
            figure for batch in BATCHES for figure in _figures_of(bench, batch, steps[batch], ways, streamed=streamed)
        ]


def _figures_of(
    bench: Bench, batch: int, steps: Steps, ways: Mapping[str, str], *, streamed: Mapping[str, int]
) -> list[Figure]:
    bench.tell(f"decode at batch {batch}: measuring")
    rounds = bench.time_in_turn(steps, repeats=REPEATS)
    rate = statistics.median(copy_bytes_per_s(bench).values["per_s"])
    notes = {
        "graphs": bench.graphs,
        "ms_to_stream_weights_at_copy_speed": {name: round(size / rate * 1000, 3) for name, size in streamed.items()},
    }
    return [
        ratio_figure(
            f"decode step, batch {batch}, cache 512, times as fast as fp32: mixed, {way}",
            None if way == "eager" else TARGET,
            rounds,
            of=f"fp32_{way}_ms",
            to=f"mixed_{way}_ms",
            how=HOW.format(launched=launched),
            notes=notes,
        )
        for way, launched in ways.items()
    ]
