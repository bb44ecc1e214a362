"""Attention over transformers' paged cache, by kernels that torch itself ships, registered as transformers' own are.

transformers' continuous batching knows two ways: `flash_attn`, a package of its own that not every machine can have,
and a mask over everything, which costs batch times cache. Here a prefill runs torch's variable-length flash attention,
and a decode step FlexAttention over the pages where they lie, as "PagedAttention" (Kwon et al., SOSP 2023) reads them.
Where there is no such kernel (a CPU, fp32) both are computed by scaled_dot_product_attention, text by text or padded.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sluice.engine.generation.attention.compiled import keep_and_attend
from sluice.engine.generation.attention.mla import attend_latents
from sluice.engine.generation.attention.paged import DecodeMetadata, write_and_attend
from sluice.engine.generation.attention.varlen import varlen_attention

# transformers makes no mask for a name with "flash" in it, and looks for packages for those that end with a version.
NAME = "sluice_flash"


def unsupported_reason(model: Any) -> str:
    """What `attend` does not know of what `model` needs; empty if nothing is missing."""
    from transformers.generation.continuous_batching.cache import group_layers_by_attn_type
    from transformers.generation.continuous_batching.cache_allocators import FULL_ATTENTION

    config = model.config.get_text_config()
    try:
        kinds = sorted(group_layers_by_attn_type(config))
    except ValueError as error:
        return f"an {str(error).lower()}"
    if kinds != [FULL_ATTENTION]:
        return "attention to a window of a text"
    if not model._supports_attention_backend:
        return "attention of its own, which cannot be replaced"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "attention with soft caps"
    if any(name.endswith("sinks") for name, _ in model.named_parameters()):
        return "attention with sinks"
    return ""


def use_paged_attention(model: Any) -> None:
    """Let all layers of `model` attend by `attend`, from now on and under continuous batching only."""
    from transformers import AttentionInterface

    # For a name that has no mask of its own transformers makes none.
    AttentionInterface.register(NAME, attend)
    # The public setter asks whether the `flash_attn` package is there for any name with "flash" in it.
    model.config._attn_implementation = NAME


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - as transformers calls it
    *,
    scaling: float | None = None,
    page_step: DecodeMetadata | None = None,
    pages_handle: int = 0,
    pages_layer: int = 0,
    latent_row: Tensor | None = None,
    prompts_handle: int = 0,
    prompts_layer: int = 0,
    **laid: Any,
) -> tuple[Tensor, None]:
    """Causal attention of all texts of a batch, laid end to end.

    `query` is (1, heads, tokens, width), `key` and `value` are alike with their own heads, tokens and widths; where the
    texts lie is what `varlen_attention` takes. In a `page_step` each text has one token, whose key and value, or its
    `latent_row`, are written to the layer's pages before all of the text's are read. Of compiled prompts
    `prompts_handle` knows where they lie, and key and value are written as well. Returns (1, tokens, heads, width of
    values).
    """
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if page_step is not None and latent_row is not None:
        # What was expanded of the new token is not wanted.
        out = attend_latents(
            module, query, latent_row, step=page_step, handle=pages_handle, layer=pages_layer, scale=scale
        )
        return out, None
    if page_step is not None:
        out = write_and_attend(query, key, value, page_step, handle=pages_handle, layer=pages_layer, scale=scale)
        return out, None
    if prompts_handle:
        return keep_and_attend(query, key, value, prompts_handle, prompts_layer, scale), None
    return varlen_attention(query, key, value, scale=scale, **laid), None
