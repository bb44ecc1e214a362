"""One decode step over a paged cache: every text writes one token's key and value, and reads all of its pages.

On an accelerator with a compiler FlexAttention reads the pages where they lie: a block of its mask is a page, and only
the last page of a text is masked inside. Elsewhere the pages are gathered and padded.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

# FlexAttention of single queries over the pages of a cache: a block of its mask is a page.


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
    """`flex_decode`, compiled anew for each number of texts."""
    # Its kernel for few queries is chosen only where the number of texts is a constant.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)
    return torch.compile(flex_decode, dynamic=False)


def flex_decode(queries: Tensor, keys: Tensor, values: Tensor, mask: Any, scale: float) -> Tensor:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeMetadata:
    """What all layers of one decode step share.

    `new_slots`, (texts,), are where the new tokens go. `pages` is (texts, as many as a text can have, or as the longest
    has); `full`, (texts,), of them are read whole. `halves`, (texts,), is 1 where of one more, in the first column of
    `half`, shaped as `pages`, the first `rest` slots are read, and 0 where there is none.
    """

    new_slots: Tensor
    pages: Tensor
    full: Tensor
    half: Tensor
    halves: Tensor
    rest: Tensor


class PagedCacheView:
    """In the place of transformers' cache during a decode step: leads each layer to its pages, and writes nothing yet.

    `views` are keys and values, (pages, page, heads, width), by layer; what is written to page `waste` is nobody's.
    `are_latent`: both are the same rows of latents. `handle` stands for it in a compiled graph, which must not see that
    its memory changes: it would copy all of it.
    """

    def __init__(self, views: Mapping[int, tuple[Tensor, Tensor]], *, waste: int, are_latent: bool = False) -> None:
        self.views = dict(views)
        self._are_latent = are_latent
        self._waste = waste
        keys, _ = next(iter(self.views.values()))
        self._page = keys.shape[1]
        self.handle = next(_handles)
        _held[self.handle] = self

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """As transformers has it: the new token's keys and values, as they came, or latents and rotated keys."""
        kwargs["pages_handle"], kwargs["pages_layer"] = self.handle, layer_idx
        if self._are_latent:
            kwargs["latent_row"] = torch.cat((key_states, value_states), dim=-1)
        return key_states, value_states

    def step(self, cu_seq_lens_k: Tensor, block_table: Tensor) -> DecodeMetadata:
        """The step of texts whose keys, the new ones included, lie at `cu_seq_lens_k` and in `block_table`'s pages."""
        texts, page = block_table.shape[0], self._page
        lengths = cu_seq_lens_k[1 : texts + 1] - cu_seq_lens_k[:texts]
        before = (lengths - 1).clamp(min=0)
        newest = block_table.gather(1, (before // page).unsqueeze(1).long()).squeeze(1)
        # Rows that only pad the batch have no length and no pages.
        newest = torch.where(newest < 0, self._waste, newest)
        pages = block_table.clamp(min=0)
        if pages.device.type == "cpu":
            # Where it costs nothing to ask how long the longest text is. A graph could not be replayed for another.
            pages = pages[:, : max(1, -(-int(lengths.max()) // page))]
        full = lengths // page
        last = pages.gather(1, full.clamp(max=pages.shape[1] - 1).unsqueeze(1).long())
        return DecodeMetadata(
            new_slots=newest.long() * page + before % page,
            pages=pages,
            full=full.to(torch.int32),
            # FlexAttention reads both lists of pages by the strides of one, so this is as wide as the other.
            half=torch.cat((last, pages[:, 1:]), dim=1),
            halves=(lengths % page > 0).to(torch.int32),
            rest=(lengths % page).to(torch.int32),
        )


_handles = itertools.count()
_held: weakref.WeakValueDictionary[int, PagedCacheView] = weakref.WeakValueDictionary()


def write_and_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    step: DecodeMetadata,
    *,
    handle: int,
    layer: int,
    scale: float,
) -> Tensor:
    """Write new keys and values, and attend to all of each text's.

    `query`, `key` and `value` are (1, heads, texts, width), and `handle` is that of the Pages. A value that is narrower
    than its key is a part of it. Returns (1, texts, heads, width of values).
    """
    # An operator of one's own takes a tenth of a millisecond, which only a compiler has to be told.
    attend = _as_one_operator if torch.compiler.is_compiling() else _write_and_attend
    fixed = (step.new_slots, step.pages, step.full, step.half, step.halves, step.rest)
    out: Tensor = attend(query, key, value, *fixed, handle, layer, scale)
    return out


def _write_and_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    new_slots: Tensor,
    pages: Tensor,
    full: Tensor,
    half: Tensor,
    halves: Tensor,
    rest: Tensor,
    handle: int,
    layer: int,
    scale: float,
) -> Tensor:
    k_cache, v_cache = _held[handle].views[layer]
    _, page, heads, width = k_cache.shape
    k_slots, v_slots = k_cache.view(-1, heads, width), v_cache.view(-1, heads, width)[..., : value.shape[-1]]
    # As a latent is of its row.
    is_part = value.shape[-1] < width
    k_slots.index_copy_(0, new_slots, key[0].transpose(0, 1))
    if not is_part:
        v_slots.index_copy_(0, new_slots, value[0].transpose(0, 1))
    queries = query[0].transpose(0, 1).unsqueeze(2)
    if can_attend_by_blocks(queries):
        keys, values = (one.transpose(0, 1).unsqueeze(0) for one in (k_slots, v_slots))
        mask = block_mask(pages, full, half, halves, rest, page=page, slots=k_slots.shape[0])
        out: Tensor = compiled()(queries, keys, values, mask, scale)
    else:
        keys = k_cache[pages.long()].flatten(1, 2).transpose(1, 2)
        # As wide as keys, for which there is a kernel.
        values = keys if is_part else v_cache[pages.long()].flatten(1, 2).transpose(1, 2)
        out = attend_padded(queries, keys, values, (full * page + rest).clamp(min=1), scale=scale)
        out = out[..., : value.shape[-1]]
    return out.squeeze(2).unsqueeze(0).contiguous()


# To a compiler it is a pure function: who reads the pages comes after it in the same stream.
_as_one_operator = torch.library.custom_op("sluice::write_and_attend", _write_and_attend, mutates_args=())


@_as_one_operator.register_fake
def _like_query(query: Tensor, _: Tensor, value: Tensor, *__: Any) -> Tensor:
    return query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])


def attend_padded(queries: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, *, scale: float) -> Tensor:
    """One query of each text, (texts, heads, 1, width), over the first `lengths`, (texts,), of its keys.

    `keys` and `values` are (texts, heads of their own, longest, width). Returns what `queries` are shaped as.
    """
    visible = torch.arange(keys.shape[2], device=keys.device) < lengths.unsqueeze(1)
    # Heads that share one of the keys are to it what several queries are.
    grouped = queries.reshape(queries.shape[0], keys.shape[1], -1, queries.shape[-1])
    out = scaled_dot_product_attention(grouped, keys, values, attn_mask=visible[:, None, None, :], scale=scale)
    return out.reshape(*queries.shape[:-1], -1)
