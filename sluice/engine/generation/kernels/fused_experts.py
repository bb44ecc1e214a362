"""The experts of a mixture, for few tokens and for many: a sort, two products with all that belongs to them, a sum.

As in vLLM's fused MoE: assignments are sorted by expert and cut into blocks of rows, each of which is one expert's, so
that a program multiplies with one expert's weights only, and weights of experts that nobody asked for are not read.
Every launch has a grid that depends on the number of tokens alone, never on who is routed where, so that a CUDA graph
can be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Beyond so many assignments one program sorts too long, and torch's sort has enough to do.
_MOST_SORTED_BY_ONE = 4_096
_CHUNK = 128
_FLOATS = frozenset({torch.float16, torch.bfloat16})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How a product is cut: rows and columns of a program, how deep its steps are, and what runs beside it."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = 8

    def constants(self) -> dict[str, int]:
        """As a kernel takes them."""
        return {
            "ROWS": self.rows, "COLUMNS": self.columns, "DEPTH": self.depth, "GROUP": self.group,
            "num_warps": self.warps, "num_stages": self.stages,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tilings:
    """Those of the two products, which share their rows."""

    gate_and_up: Tiling
    down: Tiling


def tilings_for(tokens: int, top: int, experts: int) -> Tilings:
    """Good ones for `tokens` that go to `top` of `experts` each, as measured on an H200."""
    each = tokens * top / experts
    if each <= 16:
        return Tilings(
            gate_and_up=Tiling(rows=16, columns=32, depth=128, warps=4, stages=4),
            down=Tiling(rows=16, columns=64, depth=128, warps=4, stages=4),
        )
    if each <= 64:
        return Tilings(
            gate_and_up=Tiling(rows=32, columns=64, depth=128, warps=4, stages=3),
            down=Tiling(rows=32, columns=128, depth=64, warps=4, stages=3),
        )
    return Tilings(
        gate_and_up=Tiling(rows=128, columns=128, depth=64, warps=8, stages=4),
        down=Tiling(rows=128, columns=128, depth=64, warps=8, stages=3),
    )


def can_fuse(hidden: Tensor, gate_up: Tensor, down: Tensor) -> bool:
    """Whether `fused_experts` takes tensors like these; anything else is served by torch's own operators."""
    alike = hidden.dtype == gate_up.dtype == down.dtype and hidden.dtype in _FLOATS
    return alike and gate_up.stride(-1) == down.stride(-1) == hidden.stride(-1) == 1


def fused_experts(
    hidden: Tensor,
    gate_up: Tensor,
    down: Tensor,
    chosen: Tensor,
    shares: Tensor,
    *,
    tilings: Tilings | None = None,
) -> Tensor:
    """sum over a token's experts e of share_e * down_e(silu(gate_e(x)) * up_e(x)).

    `hidden` is (tokens, width); `gate_up`, (experts, 2 * inner, width), has the gates' rows first; `down` is (experts,
    width, inner). `chosen`, (tokens, top), are int32 or int64 numbers of experts, those outside [0, experts) count
    nothing; `shares`, (tokens, top), their weights. Returns (tokens, width) in the type of `hidden`; products are
    summed in fp32. Raises ValueError for tensors that `can_fuse` refuses.
    """
    if not can_fuse(hidden, gate_up, down):
        raise ValueError(f"no kernel for hidden states in {hidden.dtype} with weights in {gate_up.dtype}")
    tokens, width = hidden.shape
    experts, _, inner_width = down.shape
    top = chosen.shape[1]
    count = tokens * top
    out = hidden.new_empty(tokens, width)
    if not count:
        return out
    cut = tilings or tilings_for(tokens, top, experts)
    rows = cut.gate_and_up.rows
    kernels = _kernels()
    blocks = min(count, count // rows + experts)
    order, *described = _sorted(chosen.reshape(-1), experts=experts, rows=rows, blocks=blocks)
    # An assignment to no expert has no row; its part is zero.
    inner = hidden.new_empty(count, inner_width)
    parts = hidden.new_zeros(count, width)
    kernels.gate_and_up[(blocks * _blocks_of(inner_width, cut.gate_and_up.columns),)](
        hidden, gate_up, order, *described, inner, hidden.stride(0), gate_up.stride(0), gate_up.stride(1),
        WIDTH=width, INNER=inner_width, TOP=top, BLOCKS=blocks, **cut.gate_and_up.constants(),
    )  # fmt: skip
    kernels.down[(blocks * _blocks_of(width, cut.down.columns),)](
        inner, down, order, shares.reshape(-1), *described, parts, down.stride(0), down.stride(1),
        WIDTH=width, INNER=inner_width, BLOCKS=blocks, **cut.down.constants(),
    )  # fmt: skip
    columns = 1024
    kernels.sum_of_tokens[(tokens, _blocks_of(width, columns))](
        parts, out, WIDTH=width, TOP=top, COLUMNS=columns, num_warps=4
    )
    return out


def _sorted(chosen: Tensor, *, experts: int, rows: int, blocks: int) -> Iterable[Tensor]:
    """Assignments by expert, and of each block of them its expert (-1: none), its first row and its end."""
    count = chosen.shape[0]
    device = chosen.device
    order = torch.empty(count, dtype=torch.int32, device=device)
    described = [torch.empty(blocks, dtype=torch.int32, device=device) for _ in range(3)]
    if count <= _MOST_SORTED_BY_ONE:
        padded = max(16, _power_of_two(experts + 1))
        _kernels().sort_by_expert[(1,)](
            chosen, order, *described, count, EXPERTS_2=padded, EXPERTS=experts, ROWS=rows, CHUNK=_CHUNK,
            BLOCKS=blocks, num_warps=8,
        )  # fmt: skip
        return (order, *described)
    known = torch.where((chosen >= 0) & (chosen < experts), chosen, experts)
    order = torch.argsort(known, stable=True).int()
    counts = torch.zeros(experts + 1, dtype=torch.int32, device=device)
    counts = counts.index_add_(0, known.long(), torch.ones_like(order))[:experts]
    starts = counts.cumsum(0) - counts
    own = (counts + rows - 1) // rows
    ends = own.cumsum(0)
    place = torch.arange(blocks, device=device)
    owner = torch.searchsorted(ends, place, right=True)
    held = owner.clamp(max=experts - 1)
    first = starts[held] + (place - (ends - own)[held]) * rows
    end = torch.minimum(first + rows, (starts + counts)[held])
    return order, torch.where(owner < experts, owner, -1).int(), first.int(), end.int()


def _blocks_of(size: int, block: int) -> int:
    return -(-size // block)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


@cache
def _kernels() -> Any:
    # Made when first used: a program that serves no such model needs no compiler.
    from sluice.engine.generation.kernels import fused_experts_triton

    return fused_experts_triton
