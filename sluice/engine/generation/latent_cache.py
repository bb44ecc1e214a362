"""Latent attention's cache (DeepSeek-V2, arXiv 2405.04434, §2.1) in the pages of transformers' paged cache.

transformers 5.24 hands a layer's latents and its rotated keys to the cache before they are expanded to heads, and its
paged cache knows one number of heads of one width. Both together are one row a token. Cut in two halves, a row fills
exactly one head of keys and one of values that are half as wide: nothing is padded, and nothing is stored expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching import cache as paged_cache
from transformers.generation.continuous_batching.cache_allocators import FULL_ATTENTION, FullAttentionCacheAllocator


def is_latent(config: Any) -> bool:
    """Whether a model of this configuration keeps latents rather than keys and values."""
    return bool(getattr(config, "kv_lora_rank", None)) and bool(getattr(config, "qk_rope_head_dim", None))


class LatentCacheAllocator(FullAttentionCacheAllocator):
    """Pages of latents. A block table would lead a kernel to keys that are not there, so there is none."""

    supports_block_table = False

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, read_index: Tensor, write_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write new latents (tokens, 1, rank) and rotated keys (tokens, 1, rope), and read those of all texts back."""
        rank = key_states.shape[-1]
        rows = torch.cat((key_states, value_states), dim=-1)
        halves = super().update(*rows.chunk(2, dim=-1), layer_idx, read_index, write_index)
        rows = torch.cat(halves, dim=-1)
        return rows[..., :rank], rows[..., rank:]


@contextmanager
def latent_pages(config: Any) -> Iterator[None]:
    """Let caches that are made inside for `config` hold latents. Raises ValueError for rows that cannot be halved.

    The registry of allocators is one for the process, so that two caches must not be made at the same time.
    """
    row = config.kv_lora_rank + config.qk_rope_head_dim
    if row % 2:
        raise ValueError(f"a latent row of {row} numbers has no halves")
    registry = paged_cache.ATTN_TYPE_TO_ALLOCATOR
    usual = registry[FULL_ATTENTION]
    heads, width = config.num_key_value_heads, getattr(config, "head_dim", None)
    registry[FULL_ATTENTION] = LatentCacheAllocator
    config.num_key_value_heads, config.head_dim = 1, row // 2
    try:
        yield
    finally:
        registry[FULL_ATTENTION] = usual
        config.num_key_value_heads, config.head_dim = heads, width
