# mypy: ignore-errors
"""The kernels of `fused_experts`. Triton compiles their source: they are functions of pointers and constants."""

from __future__ import annotations

try:
    import triton.language as tl
    from triton import jit
except ImportError:
    # Where nothing could run them they can still be imported.
    def jit(function):
        """As it is."""
        return function


@jit
def sort_by_expert(
    experts, order, block_expert, block_first, block_end, count,
    EXPERTS_2: tl.constexpr, EXPERTS: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """One program: a stable counting sort of `count` assignments, cut into blocks of at most ROWS of one expert.

    An assignment to an expert that does not exist is left out of all blocks.
    """
    e = tl.arange(0, EXPERTS_2)
    counts = tl.zeros([EXPERTS_2], tl.int32)
    for first in range(0, count, CHUNK):
        n = first + tl.arange(0, CHUNK)
        expert = tl.load(experts + n, mask=n < count, other=-1).to(tl.int32)
        counts += tl.sum((expert[:, None] == e[None, :]).to(tl.int32), 0)
    counts = tl.where(e < EXPERTS, counts, 0)
    starts = tl.cumsum(counts, 0) - counts
    blocks = (counts + ROWS - 1) // ROWS
    block_ends = tl.cumsum(blocks, 0)
    seen = tl.zeros([EXPERTS_2], tl.int32)
    for first in range(0, count, CHUNK):
        n = first + tl.arange(0, CHUNK)
        expert = tl.load(experts + n, mask=n < count, other=-1).to(tl.int32)
        is_own = (expert[:, None] == e[None, :]).to(tl.int32)
        place = tl.sum(is_own * (starts[None, :] + seen[None, :] + tl.cumsum(is_own, 0) - 1), 1)
        tl.store(order + place, n, mask=(n < count) & (expert >= 0) & (expert < EXPERTS))
        seen += tl.sum(is_own, 0)
    for first in range(0, BLOCKS, CHUNK):
        b = first + tl.arange(0, CHUNK)
        # The expert of a block is the number of those whose blocks end before it.
        owner = tl.sum((block_ends[None, :] <= b[:, None]).to(tl.int32), 1)
        is_owner = (owner[:, None] == e[None, :]).to(tl.int32)
        begin = tl.sum(is_owner * (starts[None, :] + (b[:, None] - (block_ends - blocks)[None, :]) * ROWS), 1)
        end = tl.minimum(begin + ROWS, tl.sum(is_owner * (starts + counts)[None, :], 1))
        is_used = owner < EXPERTS
        tl.store(block_expert + b, tl.where(is_used, owner, -1), mask=b < BLOCKS)
        tl.store(block_first + b, begin, mask=b < BLOCKS)
        tl.store(block_end + b, end, mask=b < BLOCKS)


@jit
def _place(columns, BLOCKS: tl.constexpr, GROUP: tl.constexpr):
    # Programs that run together share weights: blocks of rows in groups, and in a group column by column.
    number = tl.program_id(0)
    group = number // (GROUP * columns)
    first = group * GROUP
    size = tl.minimum(BLOCKS - first, GROUP)
    inside = number % (GROUP * columns)
    return first + inside % size, inside // size


@jit
def gate_and_up(
    hidden, weights, order, block_expert, block_first, block_end, out,
    hidden_t, weights_e, weights_n,
    WIDTH: tl.constexpr, INNER: tl.constexpr, TOP: tl.constexpr, BLOCKS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """silu(x W_gate) * (x W_up) for one block of rows and one of columns; `out` is in the order of `order`."""
    block, column = _place(tl.cdiv(INNER, COLUMNS), BLOCKS, GROUP)
    expert = tl.load(block_expert + block)
    if expert < 0:
        return
    row = tl.load(block_first + block) + tl.arange(0, ROWS)
    is_row = row < tl.load(block_end + block)
    token = tl.load(order + row, mask=is_row, other=0) // TOP
    n = column * COLUMNS + tl.arange(0, COLUMNS)
    is_column = n < INNER
    k = tl.arange(0, DEPTH)
    x_at = hidden + token.to(tl.int64)[:, None] * hidden_t + k[None, :]
    gate_at = weights + expert.to(tl.int64) * weights_e + n[None, :] * weights_n + k[:, None]
    up_at = gate_at + INNER * weights_n
    gate = tl.zeros([ROWS, COLUMNS], tl.float32)
    up = tl.zeros([ROWS, COLUMNS], tl.float32)
    for depth in range(0, WIDTH, DEPTH):
        is_deep = k < WIDTH - depth
        x = tl.load(x_at + depth, mask=is_row[:, None] & is_deep[None, :], other=0.0)
        is_weight = is_deep[:, None] & is_column[None, :]
        gate = tl.dot(x, tl.load(gate_at + depth, mask=is_weight, other=0.0), gate)
        up = tl.dot(x, tl.load(up_at + depth, mask=is_weight, other=0.0), up)
    result = gate * tl.sigmoid(gate) * up
    at = out + row.to(tl.int64)[:, None] * INNER + n[None, :]
    tl.store(at, result.to(out.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])


@jit
def down(
    inner, weights, order, shares, block_expert, block_first, block_end, out,
    weights_e, weights_n,
    WIDTH: tl.constexpr, INNER: tl.constexpr, BLOCKS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """inner W_down, times the expert's share of its token; `out` is in the order of the assignments."""
    block, column = _place(tl.cdiv(WIDTH, COLUMNS), BLOCKS, GROUP)
    expert = tl.load(block_expert + block)
    if expert < 0:
        return
    row = tl.load(block_first + block) + tl.arange(0, ROWS)
    is_row = row < tl.load(block_end + block)
    assignment = tl.load(order + row, mask=is_row, other=0)
    n = column * COLUMNS + tl.arange(0, COLUMNS)
    is_column = n < WIDTH
    k = tl.arange(0, DEPTH)
    x_at = inner + row.to(tl.int64)[:, None] * INNER + k[None, :]
    weight_at = weights + expert.to(tl.int64) * weights_e + n[None, :] * weights_n + k[:, None]
    result = tl.zeros([ROWS, COLUMNS], tl.float32)
    for depth in range(0, INNER, DEPTH):
        is_deep = k < INNER - depth
        x = tl.load(x_at + depth, mask=is_row[:, None] & is_deep[None, :], other=0.0)
        weight = tl.load(weight_at + depth, mask=is_deep[:, None] & is_column[None, :], other=0.0)
        result = tl.dot(x, weight, result)
    result *= tl.load(shares + assignment, mask=is_row, other=0.0).to(tl.float32)[:, None]
    at = out + assignment.to(tl.int64)[:, None] * WIDTH + n[None, :]
    tl.store(at, result.to(out.dtype.element_ty), mask=is_row[:, None] & is_column[None, :])


@jit
def sum_of_tokens(parts, out, WIDTH: tl.constexpr, TOP: tl.constexpr, COLUMNS: tl.constexpr):
    """What a token's experts give together."""
    token = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([COLUMNS], tl.float32)
    for place in range(TOP):
        total += tl.load(parts + (token * TOP + place) * WIDTH + n, mask=n < WIDTH, other=0.0).to(tl.float32)
    tl.store(out + token * WIDTH + n, total.to(out.dtype.element_ty), mask=n < WIDTH)
