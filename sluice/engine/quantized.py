"""A transformers model in fp8 or int4: its linear layers and its experts by torchao, and the rest in half precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sluice.engine.precision.half import heads_of
from sluice.engine.precision.quantizers import Quantizer

_EXPERTS_SUFFIX = "Experts"
_EXPERT_DIMENSIONS = 3
# What kernels take of rows and columns.
_MULTIPLE = 16


class NothingQuantized(Exception):
    """No layer has rows long enough, or of a length that the kernels take."""


def quantize(model: Any, quantizer: Quantizer, *, device: torch.device) -> None:
    """Quantize `model`, which is in half precision on the CPU, in place, and move it to `device`.

    Its head is left alone. Layer by layer is moved first, so that the device never holds more than one of them in half
    precision beside what is quantized. Raises NothingQuantized when no layer's sizes allow it.
    """
    from torchao.quantization import quantize_

    heads = set(heads_of(model))

    def is_inner(module: nn.Module, path: str) -> bool:
        del path
        if type(module) is not nn.Linear or module in heads or module.weight.dtype is torch.float32:
            return False
        return not any(size % _MULTIPLE for size in module.weight.shape) and _suits(module.weight, quantizer)

    quantize_(model, quantizer.config, filter_fn=is_inner, device=device)
    for module in model.modules():
        if type(module).__name__.endswith(_EXPERTS_SUFFIX):
            module.to(device)
            _quantize_experts(module, quantizer)
    if not any(is_quantized(one) for one in model.parameters()):
        raise NothingQuantized
    model.to(device)


def held_bytes(model: nn.Module) -> int:
    """Bytes of the weights and buffers of `model`, of quantized ones what they are made of."""
    held = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(map(_bytes, held.values()))


def _bytes(tensor: torch.Tensor) -> int:
    if not is_quantized(tensor):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    return sum(_bytes(getattr(tensor, name)) for name in names)


def is_quantized(tensor: torch.Tensor) -> bool:
    """Whether a weight is held by torchao in another form than a matrix of numbers."""
    # torchao's tensors are made of plain ones.
    return hasattr(tensor, "__tensor_flatten__")


def _suits(weight: torch.Tensor, quantizer: Quantizer) -> bool:
    """Whether no row is all zeros, if that matters: its scale may be 0, and what is divided by that is no number."""
    return quantizer.takes_dead_rows or bool(weight.any(dim=-1).all())


def _quantize_experts(experts: Any, quantizer: Quantizer) -> None:
    from torchao.quantization import FqnToConfig, quantize_

    named = experts.named_parameters(recurse=False)
    weights = [name for name, one in named if one.ndim == _EXPERT_DIMENSIONS and _suits(one, quantizer)]
    if quantizer.groups_experts:
        quantize_(experts, FqnToConfig(dict.fromkeys(weights, quantizer.config)), filter_fn=None)
        return
    # Without a kernel for all experts at once, each is a matrix of its own, and transformers asks one after the other.
    for name in weights:
        matrices = nn.ParameterList(_quantized(one, quantizer) for one in getattr(experts, name).detach().unbind())
        delattr(experts, name)
        setattr(experts, name, matrices)
    experts.config._experts_implementation = "eager"  # noqa: SLF001  the setter asks for what transformers can compile


def _quantized(weight: torch.Tensor, quantizer: Quantizer) -> nn.Parameter:
    from torchao.quantization import quantize_

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    holder = nn.Sequential(layer)
    quantize_(holder, quantizer.config)
    return layer.weight
