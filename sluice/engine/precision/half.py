"""Half precision with care: weights in bf16 or fp16, and in fp32 what rounding would hurt.

In fp32 stay norms, the routers of experts and the head of a classifier: they are small, and a rounding there is one in
everything behind them, or decides which expert or label it is. Softmax needs no care of ours: torch's attention and
transformers' compute it in fp32 whatever they are given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_ROUNDED_BADLY = ("Norm", "Router")


def half_of(device: torch.device) -> torch.dtype:
    """bf16 where the device computes in it natively, which every CPU is taken to do, else fp16.

    bf16 has the range of fp32, so nothing overflows that did not before; fp16 has three bits more.
    """
    if device.type == "cpu":
        return torch.bfloat16
    tell = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    if tell is not None:
        return torch.bfloat16 if tell(including_emulation=False) else torch.float16
    try:
        torch.ones(1, dtype=torch.bfloat16, device=device).add_(1).item()
    except (RuntimeError, TypeError, NotImplementedError):
        return torch.float16
    return torch.bfloat16


def cast_to_half(model: Any, half: torch.dtype, *, head: bool) -> None:
    """Convert `model`, a transformers model with its weights as they were read, in place.

    With `head` everything outside the base model is its head. What is in fp32 takes its input in fp32; a norm gives
    its output back in half, as what comes next expects it, while routers and heads answer in fp32.
    """
    heads = set(heads_of(model)) if head else set()
    strict = [*(getattr(model, "_keep_in_fp32_modules", None) or ())]
    strict += getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    for path, module in model.named_modules():
        is_head = module in heads
        careful = is_head or type(module).__name__.endswith(_ROUNDED_BADLY)
        for name, tensor in _floats(module):
            wide = careful or _is_named(f"{path}.{name}", strict)
            # In place, so that tied weights stay tied.
            tensor.data = tensor.data.to(torch.float32 if wide else half)
        if careful and any(True for _ in _floats(module)):
            module.register_forward_pre_hook(_widen, with_kwargs=True)
            if not is_head and type(module).__name__.endswith("Norm"):
                module.register_forward_hook(_Narrow(half))


def heads_of(model: Any) -> list[nn.Module]:
    """The modules of `model` that are no part of its base model: the head of its task."""
    base = getattr(model, "base_model", model)
    if base is model:
        return []
    inside = set(base.modules())
    return [module for module in model.modules() if module is not model and module not in inside]


def _floats(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    # What a model makes anew at each loading, rotary frequencies say, stays in the precision that it was made in.
    made = module._non_persistent_buffers_set  # noqa: SLF001  torch has no other word for them
    kept = [(name, buffer) for name, buffer in module.named_buffers(recurse=False) if name not in made]
    for name, tensor in (*module.named_parameters(recurse=False), *kept):
        if tensor.is_floating_point():
            yield name, tensor


def _is_named(path: str, names: Collection[str]) -> bool:
    return any(f".{name}." in f".{path}." for name in names)


def _widen(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    del module
    return tuple(map(_wide, given)), {name: _wide(value) for name, value in named.items()}


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


class _Narrow:
    """The hook that gives a norm's output back in `half`."""

    def __init__(self, half: torch.dtype) -> None:
        self._half = half

    def __call__(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        del module, given
        return output.to(self._half)
