# mypy: ignore-errors
"""The kernels of `mla_decode`. Triton compiles their source: they are functions of pointers and constants."""

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
def split(
    queries, rows, table, lengths, partial, log_sums, scale, query_s, query_h, row_s, table_s,
    PAGE: tl.constexpr, HEADS: tl.constexpr, BLOCK_HEADS: tl.constexpr, RANK: tl.constexpr, RANK_2: tl.constexpr,
    ROPE: tl.constexpr, ROPE_2: tl.constexpr, ROWS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Attend to one part of a sequence's context with one block of its heads.

    Writes the part's normalised result, and the log (to base 2) of its sum of exponentials, -inf for an empty part.
    """
    sequence = tl.program_id(0)
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    part = tl.program_id(2)
    length = tl.load(lengths + sequence)
    each = tl.cdiv(tl.cdiv(length, SPLITS), ROWS) * ROWS
    begin = part * each
    end = tl.minimum(begin + each, length)
    is_head = head < HEADS
    d = tl.arange(0, RANK_2)
    r = tl.arange(0, ROPE_2)
    base = (sequence.to(tl.int64) * SPLITS + part) * HEADS + head
    if begin >= end:
        tl.store(log_sums + base, tl.full([BLOCK_HEADS], float("-inf"), tl.float32), mask=is_head)
        return
    start = queries + sequence.to(tl.int64) * query_s + head[:, None] * query_h
    q_latent = tl.load(start + d[None, :], mask=is_head[:, None] & (d < RANK)[None, :], other=0.0)
    q_rotated = tl.load(start + RANK + r[None, :], mask=is_head[:, None] & (r < ROPE)[None, :], other=0.0)
    most = tl.full([BLOCK_HEADS], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_HEADS], tl.float32)
    sums = tl.zeros([BLOCK_HEADS, RANK_2], tl.float32)
    for first in range(begin, end, ROWS):
        token = first + tl.arange(0, ROWS)
        is_token = token < end
        block = tl.load(table + sequence.to(tl.int64) * table_s + token // PAGE, mask=is_token, other=0)
        slot = block.to(tl.int64) * PAGE + token % PAGE
        # What lies behind the context may be anything, NaN too, so it is not read.
        latent = tl.load(
            rows + slot[:, None] * row_s + d[None, :], mask=is_token[:, None] & (d < RANK)[None, :], other=0.0
        )
        rotated = tl.load(
            rows + slot[:, None] * row_s + RANK + r[None, :], mask=is_token[:, None] & (r < ROPE)[None, :], other=0.0
        )
        logits = tl.dot(q_latent, tl.trans(latent)) + tl.dot(q_rotated, tl.trans(rotated))
        logits = tl.where(is_token[None, :], logits * scale, float("-inf"))
        new_most = tl.maximum(most, tl.max(logits, 1))
        weights = tl.exp2(logits - new_most[:, None])
        kept = tl.exp2(most - new_most)
        total = total * kept + tl.sum(weights, 1)
        sums = tl.dot(weights.to(latent.dtype), latent, sums * kept[:, None])
        most = new_most
    tl.store(
        partial + base[:, None] * RANK + d[None, :],
        sums / total[:, None],
        mask=is_head[:, None] & (d < RANK)[None, :],
    )
    tl.store(log_sums + base, most + tl.log2(total), mask=is_head)


@jit
def join(
    partial, log_sums, out,
    HEADS: tl.constexpr, RANK: tl.constexpr, RANK_2: tl.constexpr, SPLITS: tl.constexpr, SPLITS_2: tl.constexpr,
):  # fmt: skip
    """Weigh the parts of one head by their sums of exponentials."""
    sequence = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    s = tl.arange(0, SPLITS_2)
    log_sum = tl.load(log_sums + (sequence * SPLITS + s) * HEADS + head, mask=s < SPLITS, other=float("-inf"))
    most = tl.max(log_sum, 0)
    # Of a sequence without tokens all parts are empty.
    most = tl.where(most == float("-inf"), 0.0, most)
    weight = tl.exp2(log_sum - most)
    total = tl.sum(weight, 0)
    d = tl.arange(0, RANK_2)
    sums = tl.zeros([RANK_2], tl.float32)
    for part in range(SPLITS):
        own = tl.load(log_sums + (sequence * SPLITS + part) * HEADS + head)
        if own > float("-inf"):
            place = (sequence * SPLITS + part) * HEADS + head
            found = tl.load(partial + place * RANK + d, mask=d < RANK, other=0.0)
            sums += found * tl.exp2(own - most)
    sums = sums / tl.where(total > 0.0, total, 1.0)
    tl.store(out + (sequence * HEADS + head) * RANK + d, sums.to(out.dtype.element_ty), mask=d < RANK)
