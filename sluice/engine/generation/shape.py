"""How large a generator may be: texts at a time, tokens of one, and the pages of memory that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sluice.engine.generation.kv_cache import is_latent

# Pages are as long as a block of FlexAttention's; without such a kernel short ones waste less.
ACCELERATOR_PAGE = 128
CPU_PAGE = 16
ACCELERATOR_BATCH_TOKENS = 8192
CPU_BATCH_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
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


def shape_for(
    config: Any, *, device_type: str, dtype: torch.dtype, texts: int, max_tokens: int, memory_bytes: float
) -> Shape:
    """The largest shape that fits: no more pages than `texts` of `max_tokens` fill, nor than `memory_bytes` hold.

    Raises MemoryError when there is not room for one page.
    """
    page = CPU_PAGE if device_type == "cpu" else ACCELERATOR_PAGE
    pages = min(texts * -(-max_tokens // page), int(memory_bytes // (page * token_bytes(config, dtype))))
    if pages < 1:
        raise MemoryError(f"{memory_bytes:.0f} bytes hold no page of {page} tokens")
    return Shape(
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
