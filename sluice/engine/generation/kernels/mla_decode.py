"""Decode attention of DeepSeek's latent form (MLA) over a paged KV cache, with the up-projection absorbed.

All query heads of a sequence attend to one row a token: its latent of `rank` numbers, which is key and value alike, and
its rotated key of `rope` numbers (DeepSeek-V2, arXiv 2405.04434, §2.1.2). So a row is read once for all heads. The
context is split among programs, whose partial results are joined by their log-sum-exp, as in flash-decoding
(https://pytorch.org/blog/flash-decoding).

The grid depends on the number of sequences alone, never on their lengths, so that a CUDA graph can be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

# tl.dot takes no fewer rows of a matrix; of more heads than this the accumulator does not fit into registers.
_FEWEST_HEADS, _MOST_HEADS = 16, 64
# Rows of the cache in one step of a program, for few heads and for many: the fastest on an H200. A row of DeepSeek's
# has 1,152 bytes, and two stages of more do not fit beside a multiprocessor.
_ROWS_OF_FEW, _ROWS_OF_MANY = 32, 64
_MAX_SPLITS = 64
# Programs that fill the devices that were measured, two for each multiprocessor.
_ENOUGH_PROGRAMS = 264
# Whole rows are held in registers.
_MAX_RANK = 512
_LOG2_E = 1.4426950408889634
_FLOATS = frozenset({torch.float16, torch.bfloat16})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a kernel is made for. `page` is the number of rows of a KV block."""

    heads: int
    rank: int
    rope: int
    page: int
    dtype: torch.dtype

    def is_supported(self) -> bool:
        """Whether the kernel takes it; anything else is served by the portable path."""
        return (
            self.dtype in _FLOATS
            and _FEWEST_HEADS <= self.rank <= _MAX_RANK
            and 0 < self.rope <= self.rank
            and self.heads > 0
            and self.page > 0
        )


def splits_for(sequences: int, head_blocks: int) -> int:
    """Among how many programs each sequence's context is split: enough to fill the device."""
    return max(1, min(_MAX_SPLITS, _ENOUGH_PROGRAMS // max(1, sequences * head_blocks)))


def mla_decode(
    queries: Tensor,
    cache_rows: Tensor,
    block_table: Tensor,
    lengths: Tensor,
    *,
    page: int,
    scale: float,
    rank: int,
) -> Tensor:
    """Attention of one new token of each sequence to its whole context.

    `queries`, (sequences, heads, rank + rope), are absorbed: their first `rank` numbers lie in the latents' space.
    `cache_rows`, (slots, rank + rope), are latents with their rotated keys; rows `block_table[s, i] * page` and the
    `page - 1` behind it hold tokens `i * page` and on of sequence `s`, which has `lengths[s]` tokens. `block_table` is
    (sequences, blocks) and, as `lengths`, int32. A sequence of length 0, as one that fills up a batch, gets zeros.

    Returns (sequences, heads, rank) in the type of `queries`; sums are in fp32. Raises ValueError for a shape that
    `Shape.is_supported` refuses.
    """
    sequences, heads, width = queries.shape
    rope = width - rank
    shape = Shape(heads=heads, rank=rank, rope=rope, page=page, dtype=queries.dtype)
    if not shape.is_supported():
        raise ValueError(f"no kernel for {shape}")
    block_heads = min(_MOST_HEADS, max(_FEWEST_HEADS, _power_of_two(heads)))
    are_few = block_heads == _FEWEST_HEADS
    head_blocks = -(-heads // block_heads)
    splits = splits_for(sequences, head_blocks)
    kernels = _kernels()
    partial = torch.empty(sequences, splits, heads, rank, dtype=torch.float32, device=queries.device)
    log_sums = torch.empty(sequences, splits, heads, dtype=torch.float32, device=queries.device)
    kernels.split[(sequences, head_blocks, splits)](
        queries,
        cache_rows,
        block_table,
        lengths,
        partial,
        log_sums,
        # To base 2: exp2 is one instruction.
        scale * _LOG2_E,
        queries.stride(0),
        queries.stride(1),
        cache_rows.stride(0),
        block_table.stride(0),
        PAGE=page,
        HEADS=heads,
        BLOCK_HEADS=block_heads,
        RANK=rank,
        RANK_2=_power_of_two(rank),
        ROPE=rope,
        ROPE_2=max(_FEWEST_HEADS, _power_of_two(rope)),
        ROWS=_ROWS_OF_FEW if are_few else _ROWS_OF_MANY,
        SPLITS=splits,
        num_warps=4 if are_few else 8,
        num_stages=2,
    )
    out = torch.empty(sequences, heads, rank, dtype=queries.dtype, device=queries.device)
    kernels.join[(sequences, heads)](
        partial,
        log_sums,
        out,
        HEADS=heads,
        RANK=rank,
        RANK_2=_power_of_two(rank),
        SPLITS=splits,
        SPLITS_2=_power_of_two(splits),
        num_warps=4,
    )
    return out


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


@cache
def _kernels() -> Any:
    # Made when first used: a program that serves no such model needs no compiler.
    from sluice.engine.generation.kernels import mla_decode_triton

    return mla_decode_triton
