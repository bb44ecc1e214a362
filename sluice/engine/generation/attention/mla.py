"""Latent attention of single tokens without expanding what texts have: DeepSeek-V2's weight absorption.

A head's key is its projection of a latent, so its query may be projected into the latents' space instead, once for the
text and not once for each of its tokens, and attention is that of many heads to one row a token; so is what it finds
(DeepSeek-V2, arXiv 2405.04434, §2.1.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sluice.engine.generation.attention.paged import DecodeMetadata, write_and_attend
from sluice.engine.precision.quantizers import is_quantized

_TRIED_LATENTS = 4
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_COARSE_TOLERANCE = 5e-2


def can_absorb(model: Any) -> bool:
    """Whether every latent attention of `model` expands latents by its `kv_b_proj` and by nothing else; tried out."""
    attentions = [module for module in model.modules() if hasattr(module, "expand_kv")]
    return bool(attentions) and all(_expands_as_is(module) for module in attentions)


def attend_latents(
    module: nn.Module, query: Tensor, row: Tensor, *, step: DecodeMetadata, handle: int, layer: int, scale: float
) -> Tensor:
    """`query` is (1, heads, texts, width), and `row`, (1, 1, texts, rank + rope), a new token's latent and rotated key.

    `row` is written to the text's pages before all of them are read. Returns (1, texts, heads, width of values).
    """
    into, out_of = _halves(module)
    rank = into.shape[-1]
    plain, rotated = query[..., : into.shape[1]], query[..., into.shape[1] :]
    asked = torch.cat((plain @ into, rotated), dim=-1)
    found = write_and_attend(asked, row, row[..., :rank], step, handle=handle, layer=layer, scale=scale)
    return (found.transpose(1, 2) @ out_of.transpose(1, 2)).transpose(1, 2)


def _halves(module: Any) -> tuple[Tensor, Tensor]:
    """What makes of a latent a head's key, (heads, width, rank), and its value."""
    weight: Tensor = module.kv_b_proj.weight
    heads = weight.view(-1, module.qk_nope_head_dim + module.v_head_dim, weight.shape[1])
    return heads[:, : module.qk_nope_head_dim], heads[:, module.qk_nope_head_dim :]


@torch.no_grad()
def _expands_as_is(module: Any) -> bool:
    projection = getattr(module, "kv_b_proj", None)
    # A quantized weight is no matrix to multiply the other way round.
    if type(projection) is not nn.Linear or is_quantized(projection.weight) or projection.bias is not None:
        return False
    into, out_of = _halves(module)
    like = {"dtype": projection.weight.dtype, "device": projection.weight.device}
    latents = torch.linspace(-1, 1, _TRIED_LATENTS * into.shape[-1], **like).view(1, 1, _TRIED_LATENTS, -1)
    rotated = torch.zeros(1, 1, _TRIED_LATENTS, module.qk_rope_head_dim, **like)
    keys, values = module.expand_kv(latents, rotated)
    ours = torch.cat([latents @ half.transpose(1, 2) for half in (into, out_of)], dim=-1)
    theirs = torch.cat((keys[..., : into.shape[1]], values), dim=-1)
    bound = _TOLERANCE.get(projection.weight.dtype, _COARSE_TOLERANCE)
    return torch.allclose(ours, theirs, atol=bound, rtol=bound)
