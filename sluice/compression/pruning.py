"""Structured pruning: whole attention heads and feed-forward neurons are removed, so that matrices become smaller.

Encoders work with part of their heads (Michel, Levy and Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS
2019), and units whose outgoing weights are small matter little (Li et al., "Pruning Filters for Efficient ConvNets",
ICLR 2017, there by the L1 norm). Both are ranked here by the L2 norm of their weights in the projection that reads
them, the least going first: the same number in each layer, because a configuration has one number for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """How many of how many heads and feed-forward neurons were removed from each layer."""

    heads: int
    of_heads: int
    neurons: int
    of_neurons: int


@dataclass(frozen=True, slots=True)
class Pruning:
    """What was removed, and the channels of the heads among it, for each layer."""

    removed: Removed
    channels: list[Tensor]


@dataclass(frozen=True, slots=True)
class _Attention:
    inputs: tuple[nn.Linear, nn.Linear, nn.Linear]
    output: nn.Linear


@dataclass(frozen=True, slots=True)
class _FeedForward:
    inner: nn.Linear
    outer: nn.Linear


def prune(model: Any, fraction: float) -> Pruning:
    """Prune the whole part of `fraction` of each layer's heads and neurons of `model`, in place.

    `model` is a classifier of BERT's family, and can afterwards be saved and loaded as any other: neurons are gone,
    from the configuration, too, and heads are silent until `remove_heads` takes them out. One of each always stays.
    """
    heads = int(model.config.num_attention_heads)
    lost = _part(fraction, heads)
    channels = [_silence_heads(attention, heads, lost) for attention in _attentions(model)]
    neurons, of_neurons = _prune_neurons(model, fraction)
    return Pruning(Removed(heads=lost, of_heads=heads, neurons=neurons, of_neurons=of_neurons), channels)


def remove_heads(model: Any, channels: list[Tensor]) -> None:
    """Take heads out of all projections, in place. The model computes on; its configuration cannot say so."""
    for attention, lost in zip(_attentions(model), channels, strict=True):
        gone = set(lost.tolist())
        kept = torch.tensor([channel for channel in range(attention.output.in_features) if channel not in gone])
        for projection in attention.inputs:
            _keep_outputs(projection, kept)
        _keep_inputs(attention.output, kept)


def _silence_heads(attention: _Attention, heads: int, lost: int) -> Tensor:
    """Set the output weights of the weakest heads to zero: the same function as without them, in the same shapes."""
    strength = attention.output.weight.norm(dim=0).reshape(heads, -1).norm(dim=1)
    weakest = strength.argsort(stable=True)[:lost].sort().values
    channels = torch.arange(attention.output.in_features).reshape(heads, -1)[weakest].flatten()
    attention.output.weight.data[:, channels] = 0
    return channels


def _prune_neurons(model: Any, fraction: float) -> tuple[int, int]:
    key = "hidden_dim" if model.config.model_type == "distilbert" else "intermediate_size"
    count = int(getattr(model.config, key))
    lost = _part(fraction, count)
    for network in _feed_forwards(model):
        strength = network.outer.weight.norm(dim=0)
        kept = strength.argsort(descending=True, stable=True)[: count - lost].sort().values
        _keep_outputs(network.inner, kept)
        _keep_inputs(network.outer, kept)
    setattr(model.config, key, count - lost)
    return lost, count


def _attentions(model: Any) -> Iterator[_Attention]:
    body = model.base_model
    if model.config.model_type == "distilbert":
        for layer in body.transformer.layer:
            own = layer.attention
            yield _Attention((own.q_lin, own.k_lin, own.v_lin), own.out_lin)
    else:
        for layer in body.encoder.layer:
            own = layer.attention.self
            yield _Attention((own.query, own.key, own.value), layer.attention.output.dense)


def _feed_forwards(model: Any) -> Iterator[_FeedForward]:
    body = model.base_model
    if model.config.model_type == "distilbert":
        for layer in body.transformer.layer:
            yield _FeedForward(layer.ffn.lin1, layer.ffn.lin2)
    else:
        for layer in body.encoder.layer:
            # MobileBERT stacks several networks in a layer.
            for network in (*getattr(layer, "ffn", ()), layer):
                yield _FeedForward(network.intermediate.dense, network.output.dense)


def _part(fraction: float, count: int) -> int:
    # 0.29 of 100 is 29, though its nearest float is less.
    return min(int(fraction * count + _ROUNDING), count - 1)


def _keep_outputs(linear: nn.Linear, kept: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.data[kept].clone(), requires_grad=False)
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.data[kept].clone(), requires_grad=False)
    linear.out_features = len(kept)


def _keep_inputs(linear: nn.Linear, kept: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.data[:, kept].clone(), requires_grad=False)
    linear.in_features = len(kept)
