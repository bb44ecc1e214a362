"""One decode step over a paged cache: every text writes one token's key and value, and reads all of its pages.

On an accelerator with a compiler FlexAttention reads the pages where they lie: a block of its mask is a page, and only the
last page of a text is masked inside. Elsewhere the pages are gathered and padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_QUERY_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What all layers of one decode step share. Shapes are (texts,), and `pages` (texts, most pages of a text).

    `new_slots` are where the new tokens go; `lengths` count tokens, the new one included; `mask` is FlexAttention's.
    """

    new_slots: Tensor
    lengths: Tensor
    pages: Tensor
    mask: Any


class Pages:
    """In the place of transformers' cache during a decode step: leads each layer to its pages, and writes nothing yet.

    `views` are keys and values, (pages, page, heads, width), by layer; what is written to page `waste` is nobody's.
    """

    def __init__(self, views: Mapping[int, tuple[Tensor, Tensor]], *, waste: int) -> None:
        self._views = dict(views)
        self._waste = waste
        keys, _ = next(iter(self._views.values()))
        self._pages, self._page = keys.shape[:2]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """As transformers has it: the new token's keys and values, as they came."""
        kwargs["k_cache"], kwargs["v_cache"] = self._views[layer_idx]
        return key_states, value_states

    def step(self, cu_seq_lens_k: Tensor, block_table: Tensor) -> Step:
        """The step of texts whose keys, the new ones included, lie at `cu_seq_lens_k` and in `block_table`'s pages."""
        texts, page = block_table.shape[0], self._page
        lengths = cu_seq_lens_k[1 : texts + 1] - cu_seq_lens_k[:texts]
        before = (lengths - 1).clamp(min=0)
        newest = block_table.gather(1, (before // page).unsqueeze(1).long()).squeeze(1)
        # Rows that only pad the batch have no length and no pages.
        newest = torch.where(newest < 0, self._waste, newest)
        pages = block_table.clamp(min=0)
        mask = _block_mask(pages, lengths, page, self._pages * page) if _has_flex(block_table) else None
        return Step(new_slots=newest.long() * page + before % page, lengths=lengths, pages=pages, mask=mask)


def write_and_attend(
    step: Step, query: Tensor, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, *, scale: float | None
) -> Tensor:
    """`query` is (1, heads, texts, width), `key` and `value` alike; returns (1, texts, heads, width)."""
    _, _, heads, width = k_cache.shape
    k_slots, v_slots = k_cache.view(-1, heads, width), v_cache.view(-1, heads, width)
    k_slots.index_copy_(0, step.new_slots, key[0].transpose(0, 1))
    v_slots.index_copy_(0, step.new_slots, value[0].transpose(0, 1))
    queries = query[0].transpose(0, 1).unsqueeze(2)
    grouped = query.shape[1] != heads
    if step.mask is not None:
        keys, values = (one.transpose(0, 1).unsqueeze(0) for one in (k_slots, v_slots))
        out: Tensor = _flex_attention()(
            queries, keys, values, block_mask=step.mask, scale=scale, enable_gqa=grouped
        )
    else:
        keys, values = (one[step.pages.long()].flatten(1, 2).transpose(1, 2) for one in (k_cache, v_cache))
        places = torch.arange(keys.shape[2], device=keys.device)
        visible = places < step.lengths.clamp(min=1).unsqueeze(1)
        out = scaled_dot_product_attention(
            queries, keys, values, attn_mask=visible[:, None, None, :], scale=scale, enable_gqa=grouped
        )
    return out.squeeze(2).unsqueeze(0)


def _block_mask(pages: Tensor, lengths: Tensor, page: int, slots: int) -> Any:
    from torch.nn.attention.flex_attention import BlockMask

    full = lengths // page
    rest = lengths % page
    last = pages.gather(1, full.clamp(max=pages.shape[1] - 1).unsqueeze(1).long())
    # The kernel reads both lists by the strides of this one, so it is as wide, though one entry is all that counts.
    partial = torch.cat((last, pages[:, 1:]), dim=1)

    def in_last_page(text: Tensor, head: Tensor, row: Tensor, slot: Tensor) -> Tensor:
        del head, row
        return slot % page < rest[text]

    def shaped(one: Tensor) -> Tensor:
        return one.to(torch.int32)[:, None, None]

    return BlockMask.from_kv_blocks(
        kv_num_blocks=shaped(rest > 0),
        kv_indices=shaped(partial),
        full_kv_num_blocks=shaped(full),
        full_kv_indices=shaped(pages),
        BLOCK_SIZE=(_QUERY_BLOCK, page),
        mask_mod=in_last_page,
        seq_lengths=(1, slots),
        # They serve the backward pass, and making them costs more than the attention.
        compute_q_blocks=False,
    )


def _has_flex(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu" and _compiles()


@cache
def _compiles() -> bool:
    from torch.utils._triton import has_triton

    return bool(has_triton())


@cache
def _flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
