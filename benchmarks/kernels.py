"""Kernels for DeepSeek's shape beside the least that the device could take: python -m benchmarks.kernels

Times are of CUDA graphs, medians over the rounds, with every round kept. The floor is the larger of the bytes that must
be read over the bandwidth of an elementwise kernel, and the operations over the rate of a large product; both are
measured first. Writes benchmarks/results/kernels.json. Needs an accelerator with Triton, and no more of this project
than the kernels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from sluice.engine.generation.kernels.fused_experts import fused_experts
from sluice.engine.generation.kernels.mla_decode import mla_decode

RESULTS = Path(__file__).parent / "results" / "kernels.json"
# DeepSeek-V2-Lite: 16 heads, latents of 512 numbers with 64 rotated ones, 64 experts of 1,408, of which a token has 6.
HEADS, RANK, ROPE, PAGE = 16, 512, 64, 64
EXPERTS, WIDTH, INNER, TOP = 64, 2048, 1408, 6
DECODES = ((1, 128), (1, 8192), (32, 256), (32, 4096), (256, 192), (256, 2048))
TOKENS = (1, 8, 32, 64, 128, 256, 1024, 8192)
LAUNCHES = 8
# More than any cache holds, so that no round finds what the last one read.
COLD_BYTES = 400 * 2**20


def graph_us(run: Callable[[], object], *, rounds: int) -> list[float]:
    """Microseconds of one `run`, by replays of a graph with several of them."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            run()
    graph.replay()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / LAUNCHES * 1000)
    return [round(one, 1) for one in times]


def ceilings(rounds: int) -> dict[str, float]:
    """Bytes a second of an elementwise kernel, read and written, and operations a second of a product in bf16."""
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    # By a kernel: what a graph makes of a copy is slower.
    copy_us = statistics.median(graph_us(lambda: torch.mul(source, 2.0, out=target), rounds=rounds))
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product_us = statistics.median(graph_us(lambda: left @ right, rounds=rounds))
    return {
        "bytes_per_s": 2 * source.numel() * source.itemsize / copy_us * 1e6,
        "operations_per_s": 2 * 8192**3 / product_us * 1e6,
    }


def decode_row(sequences: int, context: int, limits: dict[str, float], rounds: int) -> dict[str, Any]:
    """Latent attention of one layer: `sequences` with `context` tokens each."""
    blocks = -(-context // PAGE)
    used = sequences * context * (RANK + ROPE) * 2
    like = {"device": "cuda", "dtype": torch.bfloat16}
    sets = itertools.cycle(
        [
            (
                torch.randn(sequences * blocks * PAGE, RANK + ROPE, **like),
                torch.randperm(sequences * blocks, device="cuda").view(sequences, blocks).int(),
            )
            for _ in range(min(LAUNCHES, 1 + COLD_BYTES // max(1, used)))
        ]
    )
    queries = torch.randn(sequences, HEADS, RANK + ROPE, **like)
    lengths = torch.full((sequences,), context, dtype=torch.int32, device="cuda")

    def run() -> None:
        rows, table = next(sets)
        mla_decode(queries, rows, table, lengths, page=PAGE, scale=0.04, rank=RANK)

    times = graph_us(run, rounds=rounds)
    floor_us = used / limits["bytes_per_s"] * 1e6
    return {"sequences": sequences, "context": context, **_compared(times, floor_us)}


def grouped(hidden: Tensor, gate_up: Tensor, down: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
    """The experts as transformers has them with torch's grouped product."""
    flat = chosen.reshape(-1)
    order = torch.argsort(flat)
    counts = torch.histc(flat.float(), bins=EXPERTS, min=0, max=EXPERTS - 1)
    offsets = counts.cumsum(0).int()
    gate, up = torch._grouped_mm(hidden[order // TOP], gate_up.transpose(-2, -1), offs=offsets).chunk(2, dim=-1)  # noqa: SLF001
    found = torch._grouped_mm(silu(gate) * up, down.transpose(-2, -1), offs=offsets)  # noqa: SLF001
    found = found * shares.reshape(-1)[order].unsqueeze(-1)
    back = torch.empty_like(order)
    back[order] = torch.arange(order.numel(), device=order.device)
    return found[back].view(hidden.shape[0], TOP, -1).sum(1)


def experts_row(tokens: int, gate_up: Tensor, down: Tensor, limits: dict[str, float], rounds: int) -> dict[str, Any]:
    """One layer's experts for `tokens`, fused and grouped."""
    hidden = torch.randn(tokens, WIDTH, device="cuda", dtype=torch.bfloat16)
    shares, chosen = torch.randn(tokens, EXPERTS, device="cuda").softmax(-1).topk(TOP, -1)
    given = (hidden, gate_up, down, chosen, shares.bfloat16())
    hit = chosen.unique().numel()
    read_us = hit * 3 * INNER * WIDTH * 2 / limits["bytes_per_s"] * 1e6
    computed_us = tokens * TOP * 6 * INNER * WIDTH / limits["operations_per_s"] * 1e6
    fused = graph_us(lambda: fused_experts(*given), rounds=rounds)
    other = graph_us(lambda: grouped(*given), rounds=rounds)
    return {
        "tokens": tokens,
        "experts_hit": hit,
        **_compared(fused, max(read_us, computed_us)),
        "grouped_us": statistics.median(other),
        "grouped_rounds_us": other,
    }


def _compared(times: list[float], floor_us: float) -> dict[str, Any]:
    median = statistics.median(times)
    return {
        "us": median,
        "rounds_us": times,
        "floor_us": round(floor_us, 1),
        "over_floor": round(median / floor_us, 2),
    }


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="replays of each graph (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go (default: %(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    limits = ceilings(options.rounds)
    like = {"device": "cuda", "dtype": torch.bfloat16}
    gate_up = torch.randn(EXPERTS, 2 * INNER, WIDTH, **like) * 0.02
    down = torch.randn(EXPERTS, WIDTH, INNER, **like) * 0.02
    result = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        **limits,
        "mla_decode": [decode_row(*case, limits, options.rounds) for case in DECODES],
        "experts": [experts_row(tokens, gate_up, down, limits, options.rounds) for tokens in TOKENS],
    }
    for kernel in ("mla_decode", "experts"):
        for row in result[kernel]:
            print(kernel, {name: value for name, value in row.items() if not name.endswith("rounds_us")})
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
