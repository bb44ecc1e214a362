"""For decoder layers that keep what a batch is laid out by to themselves: it is handed to their attention all the same.

transformers' continuous batching passes where sequences lie as keyword arguments through every layer. A few
architectures (Nemotron and StableLM in 5.24) have layers that take such arguments and do not pass them on.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from torch import nn

# What the model itself is asked with. All else is for its attention.
_ASKED = frozenset(
    {
        "input_ids", "inputs_embeds", "position_ids", "attention_mask", "cache", "use_cache", "labels",
        "logits_indices", "logits_to_keep", "logits_processor_args",
    }
)  # fmt: skip


def withholding(model: nn.Module) -> list[nn.Module]:
    """The attention modules of `model` whose layers do not pass on the keyword arguments that they take."""
    found: list[nn.Module] = []
    dropped: dict[type, frozenset[str]] = {}
    for layer in model.modules():
        kind = type(layer)
        attentions = {name: child for name, child in layer.named_children() if hasattr(child, "layer_idx")}
        if not attentions:
            continue
        if kind not in dropped:
            dropped[kind] = _called_without_rest(kind, attentions)
        found.extend(attentions[name] for name in sorted(dropped[kind]))
    return found


def hand_down(model: nn.Module) -> bool:
    """Let attention have what `model` was called with where its layers withhold that. Whether there are such layers."""
    attentions = withholding(model)
    if not attentions:
        return False
    given: dict[str, Any] = {}

    def remember(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module, args
        given.clear()
        given.update({name: value for name, value in kwargs.items() if name not in _ASKED})

    def supply(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        del module
        return args, {**given, **kwargs}

    model.register_forward_pre_hook(remember, with_kwargs=True)
    for attention in attentions:
        attention.register_forward_pre_hook(supply, with_kwargs=True)
    return True


def _called_without_rest(kind: type, children: Mapping[str, nn.Module]) -> frozenset[str]:
    """Those of a layer's `children` that its forward calls without `**`. None where its source is not to be had."""
    forward: Any = kind.__dict__.get("forward", getattr(kind, "forward", None))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(forward))))
    except (OSError, TypeError, SyntaxError):
        return frozenset()
    return frozenset(
        call.func.attr
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in children
        and not any(keyword.arg is None for keyword in call.keywords)
    )
