"""Attention inside a compiled prefill: one operator to the compiler, which knows nothing of the KV cache behind it."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, Protocol

import torch
from torch import Tensor


class KeepsAndAttends(Protocol):
    """What stands behind a handle: a step of prompts, and the cache that it writes to."""

    def keep_and_attend(self, query: Tensor, key: Tensor, value: Tensor, layer: int, scale: float) -> Tensor:
        """Write a layer's new keys and values to the cache, and attend to them and what sequences have there."""


_handles = itertools.count(1)
_held: weakref.WeakValueDictionary[int, KeepsAndAttends] = weakref.WeakValueDictionary()


def handle_of(step: KeepsAndAttends) -> int:
    """A number that stands for `step` in a graph, for as long as `step` lives."""
    handle = next(_handles)
    _held[handle] = step
    return handle


@torch.library.custom_op("sluice::keep_and_attend", mutates_args=())
def keep_and_attend(query: Tensor, key: Tensor, value: Tensor, handle: int, layer: int, scale: float) -> Tensor:
    """As KeepsAndAttends has it; `query`, `key` and `value` are (1, heads, tokens, width) with their own heads.

    Returns (1, tokens, heads, width). To a compiler it is a pure function: who reads the cache comes after it in the
    same stream.
    """
    return _held[handle].keep_and_attend(query, key, value, layer, scale).contiguous()


@keep_and_attend.register_fake
def _like_query(query: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
