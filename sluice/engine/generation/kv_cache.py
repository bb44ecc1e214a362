"""The paged cache as our kernels read it: each layer's pages side by side, and latents where a model keeps latents.

transformers lays the pages of all layers of a block beside each other, so that a layer is spread over the whole cache,
and kernels that count in 32 bits end where it is larger than 2^31 numbers. Here that bounds one layer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching import cache as paged_cache
from transformers.generation.continuous_batching.cache_allocators import (
    FULL_ATTENTION,
    CachePool,
    FullAttentionCacheAllocator,
)

from sluice.engine.generation.sampler import NO_TOKEN

_registry_lock = threading.Lock()


class LayeredKVAllocator(FullAttentionCacheAllocator):
    """Slots (layers, keys and values, slots, heads, width). Texts are neither forked nor moved to another memory."""

    parts = 2
    """Keys and values, each of its own."""

    def register_cache_tensor(
        self, bytes_per_sector: int, non_trash_bytes: int, cache_tensor: Tensor, pool: CachePool
    ) -> None:
        """Divide `cache_tensor`. Its first two sectors are nobody's: what is read there is 0, what is written lost."""
        blocks = (non_trash_bytes + 2 * bytes_per_sector) // self.bytes_per_block
        page, heads, width = self.tokens_per_page, self.num_key_value_heads, 2 * self.head_dim // self.parts
        layers = len(self.layer_indices)
        self._forgotten: list[int] = []
        self.bytes_per_sector = bytes_per_sector
        # In slots of one layer, from one block to the next.
        self.block_physical_stride = page
        divided = cache_tensor.view(self.cache_dtype).view(layers, self.parts, blocks * page, heads, width)
        self._after_cache_tensor_init(non_trash_bytes, bytes_per_sector, divided, pool)
        self._kv_token_views = {
            layer: (divided[place, 0], divided[place, -1]) for place, layer in enumerate(self.layer_indices)
        }
        self._kv_page_views = {
            layer: (keys.view(blocks, page, heads, width), values.view(blocks, page, heads, width))
            for layer, (keys, values) in self._kv_token_views.items()
        }

    def fill_block_table(self, request_id: str, past_length: int, query_length: int, block_table: Tensor) -> None:
        """Write a text's pages into its row."""
        del past_length, query_length
        pages = self.block_table[request_id]
        if block_table.device.type == "cpu":
            # Several times faster than by way of a tensor, and there are hundreds in each step.
            block_table.numpy()[: len(pages)] = pages
        else:
            block_table[: len(pages)] = torch.tensor(pages, dtype=block_table.dtype, device=block_table.device)

    def mark_complete_blocks(self, request_id: str, token_ids: list[int], new_new_blocks: int) -> None:
        """Let a text's new full pages be found by others, unless they hold what is no number."""
        if token_ids[-1:] != [NO_TOKEN]:
            super().mark_complete_blocks(request_id, token_ids, new_new_blocks)

    def scrub(self, request_id: str) -> None:
        """Free a text's pages, filled with zeros: what is no number would spoil the text that gets one of them next.

        Pages that other texts read as well stay as they are, and nobody finds the rest as a prefix any more.
        """
        table = self.block_table.get(request_id, [])
        own = [page for page in table if page not in self.ledger.shared_ref_counts]
        pages = torch.tensor(own, device=self.cache_tensor.device, dtype=torch.long)
        for keys, values in self._kv_page_views.values():
            keys[pages] = 0
            values[pages] = 0
        self.free_blocks(request_id, no_cache=True)

    def forget(self, request_id: str, place: int) -> None:
        """Let `clear` fill one place of a text with zeros: nobody looks at what came to it last.

        Nothing is done about a place that another text can find.
        """
        number, offset = divmod(place, self.tokens_per_page)
        table = self.block_table.get(request_id, [])
        if 0 <= number < len(table) and table[number] not in self.ledger.block_to_hash:
            self._forgotten.append(table[number] * self.tokens_per_page + offset)

    def clear(self) -> None:
        """Fill all places that were forgotten."""
        if not self._forgotten:
            return
        on_host = torch.tensor(self._forgotten, pin_memory=self.cache_tensor.device.type != "cpu")
        # Out of pinned memory nobody waits for the transfer.
        places = on_host.to(self.cache_tensor.device, non_blocking=True)
        self.cache_tensor.index_fill_(2, places, 0)
        self._forgotten.clear()


class LatentKVAllocator(LayeredKVAllocator):
    """Latents and rotated keys (DeepSeek-V2, arXiv 2405.04434, §2.1), as they are before they are expanded to heads.

    Both together are one row a token, nothing is padded and nothing stored expanded. To transformers, which knows keys
    and values of one width, a row is one head of both, half as wide; here both are the row.
    """

    parts = 1

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, read_index: Tensor, write_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write new latents (tokens, 1, rank) and rotated keys (tokens, 1, rope), and read those of all texts back."""
        rank = key_states.shape[-1]
        rows, _ = self._kv_token_views[layer_idx]
        rows.index_copy_(0, write_index, torch.cat((key_states, value_states), dim=-1))
        if not read_index.numel():
            return key_states, value_states
        read = rows.index_select(0, read_index)
        return read[..., :rank], read[..., rank:]


def is_latent(config: Any) -> bool:
    """Whether a model of this configuration keeps latents rather than keys and values."""
    return bool(getattr(config, "kv_lora_rank", None)) and bool(getattr(config, "qk_rope_head_dim", None))


@contextmanager
def use_layered_allocator(config: Any) -> Iterator[None]:
    """Let caches that are made inside for a model of `config` be ours. Raises ValueError for rows without halves.

    transformers has one registry of allocators for the process, so one cache is made at a time.
    """
    latent = is_latent(config)
    row = config.kv_lora_rank + config.qk_rope_head_dim if latent else 0
    if row % 2:
        raise ValueError(f"a latent row of {row} numbers has no halves")
    registry = paged_cache.ATTN_TYPE_TO_ALLOCATOR
    with _registry_lock:
        usual = registry[FULL_ATTENTION]
        heads, width = config.num_key_value_heads, getattr(config, "head_dim", None)
        registry[FULL_ATTENTION] = LatentKVAllocator if latent else LayeredKVAllocator
        if latent:
            config.num_key_value_heads, config.head_dim = 1, row // 2
        try:
            yield
        finally:
            registry[FULL_ATTENTION] = usual
            config.num_key_value_heads = heads
            if latent:
                config.head_dim = width


# How large a generator may be: texts at a time, tokens of one, and the pages of memory that all of them share.


# Pages are as long as a block of FlexAttention's; without such a kernel short ones waste less.
ACCELERATOR_PAGE = 128
CPU_PAGE = 16
ACCELERATOR_BATCH_TOKENS = 8192
CPU_BATCH_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KVCacheConfig:
    """`texts` are written at a time, each of up to `text_tokens`, its prompt included; a prefill has `batch_tokens`.

    The cache has `pages` of `page` tokens, which all texts share.
    """

    texts: int
    text_tokens: int
    page: int
    pages: int
    batch_tokens: int

    @property
    def cache_tokens(self) -> int:
        """What all texts together may come to."""
        return self.page * self.pages


def kv_cache_config_for(
    config: Any, *, device_type: str, dtype: torch.dtype, texts: int, max_tokens: int, memory_bytes: float
) -> KVCacheConfig:
    """The largest shape that fits: no more pages than `texts` of `max_tokens` fill, nor than `memory_bytes` hold.

    Raises MemoryError when there is not room for one page.
    """
    page = CPU_PAGE if device_type == "cpu" else ACCELERATOR_PAGE
    pages = min(texts * -(-max_tokens // page), int(memory_bytes // (page * token_bytes(config, dtype))))
    if pages < 1:
        raise MemoryError(f"{memory_bytes:.0f} bytes hold no page of {page} tokens")
    return KVCacheConfig(
        texts=texts,
        text_tokens=min(max_tokens, page * pages),
        page=page,
        pages=pages,
        batch_tokens=CPU_BATCH_TOKENS if device_type == "cpu" else ACCELERATOR_BATCH_TOKENS,
    )


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of the cache for one token of a model of this text configuration."""
    if is_latent(config):
        row = config.kv_lora_rank + config.qk_rope_head_dim
    else:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        row = 2 * heads * width
    return int(row * config.num_hidden_layers * dtype.itemsize)
