"""FlexAttention of single queries over the pages of a cache: a block of its mask is a page."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

_QUERY_BLOCK = 128
# More shapes than this of one function are not compiled any more; a batch has a dozen sizes.
_MOST_SHAPES = 64
# A row of keys; blocks have 64 rows.
_WIDEST_STAGED_BYTES = 256


def block_mask(
    pages: Tensor, full: Tensor, half: Tensor, halves: Tensor, rest: Tensor, *, page: int, slots: int
) -> Any:
    """Which slots each text reads, as FlexAttention has it; the tensors are those of a Step."""
    from torch.nn.attention.flex_attention import BlockMask

    def in_last_page(text: Tensor, head: Tensor, row: Tensor, slot: Tensor) -> Tensor:
        del head, row
        return slot % page < rest[text]

    return BlockMask.from_kv_blocks(
        kv_num_blocks=halves[:, None, None],
        kv_indices=half[:, None, None],
        full_kv_num_blocks=full[:, None, None],
        full_kv_indices=pages[:, None, None],
        BLOCK_SIZE=(_QUERY_BLOCK, page),
        mask_mod=in_last_page,
        seq_lengths=(1, slots),
        # They serve the backward pass, and making them costs more than the attention.
        compute_q_blocks=False,
    )


def can_attend_by_blocks(tensor: Tensor) -> bool:
    """Whether there is a compiler for the device of `tensor`, which makes a kernel of it."""
    return tensor.device.type != "cpu" and _compiles()


@cache
def _compiles() -> bool:
    from torch.utils._triton import has_triton

    return bool(has_triton())


@cache
def compiled() -> Any:
    """`attend_blocks`, compiled anew for each number of texts."""
    # Its kernel for few queries is chosen only where the number of texts is a constant.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)
    return torch.compile(attend_blocks, dynamic=False)


def attend_blocks(queries: Tensor, keys: Tensor, values: Tensor, mask: Any, scale: float) -> Tensor:
    """FlexAttention of one query each, (texts, heads, 1, width), over keys and values, (1, their heads, slots, width).

    Its kernel for few queries is chosen only where a power of two of query heads share one of the keys; the general one
    has a block of 128 rows for each head of each text. So groups are filled up with heads that ask for nothing.
    """
    from torch.nn.attention.flex_attention import flex_attention

    heads = keys.shape[1]
    shared = queries.shape[1] // heads
    filled = 1 << (shared - 1).bit_length()
    grouped = queries.reshape(-1, heads, shared, 1, queries.shape[-1])
    if filled > shared:
        grouped = pad(grouped, (0, 0, 0, 0, 0, filled - shared))
    out: Any = flex_attention(
        grouped.flatten(1, 2),
        keys,
        values,
        block_mask=mask,
        scale=scale,
        enable_gqa=filled > 1,
        kernel_options=_options(keys),
    )
    answered: Tensor = out.reshape(-1, heads, filled, 1, values.shape[-1])[:, :, :shared].flatten(1, 2)
    return answered


def _options(keys: Tensor) -> Any:
    """While one block of keys is computed with the next is on its way, if two of each fit beside a multiprocessor.

    torch 2.13 means to choose so on a Hopper, and comes to one block at a time.
    """
    return {"num_stages": 2} if keys.shape[-1] * keys.itemsize <= _WIDEST_STAGED_BYTES else {}
