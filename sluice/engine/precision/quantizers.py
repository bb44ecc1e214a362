"""What torchao offers for fp8 and int4, best first. Which of them a device can do is found out by trying.

So no device is named here: a kernel that is missing raises where it is tried, and the next one is tried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.errors import one_line
from sluice.engine.precision.half import heads_of

logger = logging.getLogger(__name__)


FP8, INT4 = "fp8", "int4"
GROUP = 64
"""Weights of a row that share a scale in int4."""
# What is tried: a layer of so many inputs and outputs on so many rows, and by how much its result may be off.
_SIZE, _ROWS, _EXPERTS, _TOLERANCE = 128, 24, 2, 0.25
_LEAST_SCALED = 1e-12

Make = Callable[[], Any]
"""Makes a configuration of torchao's."""


@dataclass(frozen=True, slots=True)
class Quantizer:
    """torchao's `config`, and whether it takes the three-dimensional weights of experts, and rows of zeros in a weight.

    `name` is for a log.
    """

    name: str
    config: Any
    groups_experts: bool = False
    takes_dead_rows: bool = True


@cache
def quantizer_of(precision: str, device: torch.device) -> Quantizer:
    """The first of torchao's quantizers to `precision`, FP8 or INT4, that computes rightly on `device`.

    Raises InvalidRequest, field `precision`, when torchao is not installed or none does.
    """
    if find_spec("torchao") is None:
        raise InvalidRequest(f"{precision} needs torchao: pip install 'sluice[precision]'", field="precision")
    said: list[str] = []
    for name, make in (_FP8 if precision == FP8 else _INT4).items():
        why = _why_not(make, device, _linear)
        if not why:
            groups = precision == FP8 and not _why_not(make, device, _grouped)
            logger.info("quantizer", extra={"precision": precision, "device": str(device), "quantizer": name})
            dead = not _why_not(make, device, _dead)
            return Quantizer(name, make(), groups_experts=groups, takes_dead_rows=dead)
        said.append(f"{name}: {why}")
    raise InvalidRequest(f"{device} cannot compute in {precision} ({'; '.join(said)})", field="precision")


def _fp8_throughout() -> Any:
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow

    # A row of zeros, as padding is in many models, has no scale of its own: without a bound it becomes no number.
    return Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(), activation_value_lb=_LEAST_SCALED, set_inductor_config=False
    )


def _fp8_weights() -> Any:
    from torchao.quantization import Float8WeightOnlyConfig

    return Float8WeightOnlyConfig(set_inductor_config=False)


def _int4_packed(form: str) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig
    from torchao.quantization.quantize_.workflows import Int4PackingFormat

    form = Int4PackingFormat(form)
    return Int4WeightOnlyConfig(group_size=GROUP, int4_packing_format=form, set_inductor_config=False)


def _int4_opaque() -> Any:
    from torchao.prototype.quantization.int4.inference_workflow import PrototypeInt4WeightOnlyConfig

    return PrototypeInt4WeightOnlyConfig(group_size=GROUP, set_inductor_config=False)


_FP8: dict[str, Make] = {
    "fp8 weights and activations": _fp8_throughout,
    "fp8 weights, computed in half": _fp8_weights,
}
_INT4: dict[str, Make] = {
    "int4 weights, plain": partial(_int4_packed, "plain"),
    "int4 weights, in tiles": partial(_int4_packed, "tile_packed_to_4d"),
    "int4 weights, in int32": partial(_int4_packed, "plain_int32"),
    "int4 weights, opaque": _int4_opaque,
}


def _why_not(make: Make, device: torch.device, attempt: Callable[[Any, torch.device], tuple[Tensor, Tensor]]) -> str:
    # Whatever the library raises, and if it is that it has no such configuration, is its way of saying no.
    try:
        with torch.no_grad():
            got, wanted = attempt(make(), device)
            off = float((got - wanted).norm() / wanted.norm())
    except Exception as error:
        return one_line(error)
    return "" if off <= _TOLERANCE else f"its results are off by {off:.0%}"


def _linear(config: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    return _layered(config, _some(device, _SIZE, _SIZE), _beginning_with_zeros(_some(device, _ROWS, _SIZE)))


def _dead(config: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    return _layered(config, _beginning_with_zeros(_some(device, _SIZE, _SIZE)), _some(device, _ROWS, _SIZE))


def _layered(config: Any, weight: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    from torchao.quantization import quantize_

    holder = nn.Sequential(_layer(weight))
    quantize_(holder, config)
    return holder(given), given @ weight.t()


def _grouped(config: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    from torchao.quantization import FqnToConfig, quantize_

    weight, given = _some(device, _EXPERTS, _SIZE, _SIZE), _beginning_with_zeros(_some(device, _ROWS, _SIZE))
    holder = nn.ParameterDict({"weight": nn.Parameter(weight, requires_grad=False)})
    quantize_(holder, FqnToConfig({"weight": config}), filter_fn=None)
    cut = _ROWS // _EXPERTS
    ends = torch.arange(cut, _ROWS + 1, cut, device=device, dtype=torch.int32)
    got = nn.functional.grouped_mm(given, holder["weight"].transpose(-2, -1), offs=ends)
    wanted = [rows @ one.t() for rows, one in zip(given.view(_EXPERTS, cut, _SIZE), weight, strict=True)]
    return got, torch.cat(wanted)


def _layer(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return layer


def _beginning_with_zeros(rows: Tensor) -> Tensor:
    rows[0] = 0
    return rows


def _some(device: torch.device, *shape: int) -> Tensor:
    # Of its own generator, so that nobody else's numbers change.
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator).to(device, torch.bfloat16)


# A transformers model in fp8 or int4: its linear layers and its experts by torchao, and the rest in half precision.


_EXPERTS_SUFFIX = "Experts"
_EXPERT_DIMENSIONS = 3
# What kernels take of rows and columns.
_MULTIPLE = 16


class NoQuantizableLayers(Exception):
    """No layer has rows long enough, or of a length that the kernels take."""


def quantize(model: Any, quantizer: Quantizer, *, device: torch.device) -> None:
    """Quantize `model`, which is in half precision on the CPU, in place, and move it to `device`.

    Its head is left alone. Layer by layer is moved first, so that the device never holds more than one of them in half
    precision beside what is quantized. Raises NoQuantizableLayers when no layer's sizes allow it.
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
        raise NoQuantizableLayers
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
