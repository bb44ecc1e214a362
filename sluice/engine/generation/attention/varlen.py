"""Causal attention over texts laid end to end: by torch's variable-length flash attention, or text by text."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from sluice.engine.generation.attention.paged import attend_padded

_LARGEST_HEAD = 256
_HEAD_MULTIPLE = 8


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    cu_seq_lens_q: Tensor,
    cu_seq_lens_k: Tensor,
    max_length_q: int,
    max_length_k: int,
    **_: Any,
) -> Tensor:
    """`query` is (1, heads, tokens, width), `key` and `value` are alike with their own heads, tokens and widths.

    Text i has the tokens from `cu_seq_lens_q[i]` on, and the keys from `cu_seq_lens_k[i]` on; its last query sees all.
    Returns (1, tokens, heads, width of values).
    """
    width = value.shape[-1]
    if query.shape[-1] != width:
        # Latent attention has narrower values than keys, and kernels know one width.
        value = pad(value, (0, query.shape[-1] - width))
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    if has_flash(q.shape[-1], q.dtype, q.device):
        kwargs = {"enable_gqa": True} if _takes("enable_gqa") else {}
        out = _varlen_attn()(
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            cu_seq_lens_q,
            cu_seq_lens_k,
            max_length_q,
            max_length_k,
            scale=scale,
            window_size=(-1, 0),
            **kwargs,
        )
    elif max_length_q == 1:
        out = _padded_decode(q, k, v, cu_seq_lens_k, max_length_k, scale)
    else:
        out = _text_by_text(q, k, v, cu_seq_lens_q.tolist(), cu_seq_lens_k.tolist(), scale)
    return out[..., :width].unsqueeze(0)


def has_flash(width: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether all texts are attended to by one kernel, for which a CPU need not know where they lie."""
    fits = width <= _LARGEST_HEAD and width % _HEAD_MULTIPLE == 0 and dtype in {torch.float16, torch.bfloat16}
    # torch has the kernel for what it calls CUDA, which ROCm is too.
    return fits and device.type == "cuda"


@cache
def _varlen_attn() -> Any:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


@cache
def _takes(parameter: str) -> bool:
    return parameter in inspect.signature(_varlen_attn()).parameters


def _padded_decode(q: Tensor, k: Tensor, v: Tensor, cu_k: Tensor, longest: int, scale: float) -> Tensor:
    """One query each: all texts at once, their keys padded to the longest."""
    lengths = cu_k[1:] - cu_k[:-1]
    places = torch.arange(longest, device=q.device).unsqueeze(0)
    index = (cu_k[:-1].unsqueeze(1) + torch.minimum(places, lengths.unsqueeze(1) - 1)).long()
    keys, values = k[index].transpose(1, 2), v[index].transpose(1, 2)
    return attend_padded(q.unsqueeze(2), keys, values, lengths, scale=scale).squeeze(2)


def _text_by_text(q: Tensor, k: Tensor, v: Tensor, cu_q: list[int], cu_k: list[int], scale: float) -> Tensor:
    out = torch.zeros((*q.shape[:-1], v.shape[-1]), dtype=q.dtype, device=q.device)
    for text in range(len(cu_q) - 1):
        rows, columns = slice(cu_q[text], cu_q[text + 1]), slice(cu_k[text], cu_k[text + 1])
        queries, keys = rows.stop - rows.start, columns.stop - columns.start
        if not queries:
            continue
        mask = None
        if queries < keys:
            mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        one = scaled_dot_product_attention(
            q[rows].transpose(0, 1).unsqueeze(0),
            k[columns].transpose(0, 1).unsqueeze(0),
            v[columns].transpose(0, 1).unsqueeze(0),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        out[rows] = one[0].transpose(0, 1)
    return out
