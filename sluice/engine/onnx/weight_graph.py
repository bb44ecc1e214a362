"""The same int8 graph with its integer products written as products with dequantized weights.

ONNX Runtime's dynamic quantization says how activations are quantized: whole, before each integer product. Engines that
can do better are told only what the weights are, `x · dequantize(W)`, and quantize activations in their own way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from onnx import helper

_Node = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """The nodes of `cast(MatMulInteger(quantize(x), W)) * (x_scale * w_scale)`, of which `scaled` comes last."""

    integer: _Node
    cast: _Node
    scaled: _Node
    activation: str
    weight_scale: str


def with_dequantized_weights(model: Any) -> Any:
    """Rewrite `model`, an ONNX ModelProto, in place and return it; one without integer products stays as it is.

    Raises ValueError when an integer product is not of the form that ONNX Runtime's quantizer writes.
    """
    graph = model.graph
    constants = {one.name for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[_Node]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    products = [_product(node, constants, makers, users) for node in graph.node if node.op_type == "MatMulInteger"]
    if not products:
        return model
    last = {one.scaled.output[0]: one for one in products}
    dropped = {name for one in products for node in (one.integer, one.cast) for name in node.output}
    nodes: list[_Node] = []
    for node in graph.node:
        if node.output[0] in last:
            nodes.extend(_plain(last[node.output[0]]))
        elif node.output[0] not in dropped:
            nodes.append(node)
    nodes = _alive(nodes, {one.name for one in graph.output})
    used = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    for field, content in ((graph.node, nodes), (graph.initializer, kept), (graph.value_info, ())):
        del field[:]
        field.extend(content)
    return model


def _product(node: _Node, constants: set[str], makers: dict[str, _Node], users: dict[str, list[_Node]]) -> _Product:
    try:
        (cast,) = users[node.output[0]]
        (scaled,) = users[cast.output[0]]
        (scale_name,) = (name for name in scaled.input if name != cast.output[0])
        (weight_scale,) = (name for name in makers[scale_name].input if name in constants)
        quantize = makers[node.input[0]]
    except (KeyError, ValueError) as error:
        raise ValueError(f"the integer product {node.name} is followed by what this program does not know") from error
    if quantize.op_type != "DynamicQuantizeLinear" or node.input[1] not in constants:
        raise ValueError(f"the integer product {node.name} is not of an activation with a weight")
    return _Product(integer=node, cast=cast, scaled=scaled, activation=quantize.input[0], weight_scale=weight_scale)


def _plain(product: _Product) -> tuple[_Node, _Node]:
    weights = [product.integer.input[1], product.weight_scale, *product.integer.input[3:4]]
    real = f"{product.scaled.output[0]}.weight"
    dequantize = helper.make_node("DequantizeLinear", weights, [real], name=real, axis=1)
    multiply = helper.make_node(
        "MatMul", [product.activation, real], [product.scaled.output[0]], name=product.integer.name
    )
    return dequantize, multiply


def _alive(nodes: list[_Node], outputs: set[str]) -> list[_Node]:
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
