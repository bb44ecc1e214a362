"""An Open Inference Protocol request's parameters: what they ask of the router. Polarities differ, so each is named."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from services.router.requests.request import DEFAULT_PRIORITY
from services.router.requests.validation import MAX_PARAMETER_BYTES, check_priority, check_shape, check_size, shown
from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import InvalidRequest
from sluice.open_inference import grpc_service_pb2 as oip_pb2

# Between Open Inference Protocol tensors and texts: reading a request's one tensor, writing an answer's two.


INPUT = "text"
LABEL = "label"
SCORE = "score"
OUTPUTS = (LABEL, SCORE)

_LENGTH = struct.Struct("<I")


def read_texts(request: oip_pb2.ModelInferRequest) -> list[str]:
    """The texts of `request`. Raises InvalidRequest naming the tensor or its part that is wrong."""
    if len(request.inputs) != 1:
        raise InvalidRequest(f"one input tensor is expected, and {len(request.inputs)} were sent", field="inputs")
    tensor = request.inputs[0]
    if tensor.name != INPUT:
        raise InvalidRequest(f"the input tensor is named '{INPUT}', not '{shown(tensor.name)}'", field="inputs.name")
    if tensor.datatype != "BYTES":
        raise InvalidRequest(
            f"tensor '{INPUT}' is of datatype BYTES, not {shown(tensor.datatype)}", field="inputs.datatype"
        )
    shape = tensor.shape
    check_shape(shape, INPUT)
    if len(request.raw_input_contents) > 1:
        raise InvalidRequest("one tensor was sent with the raw contents of several", field="raw_input_contents")
    if request.raw_input_contents:
        values = _split(request.raw_input_contents[0])
    else:
        values = list(tensor.contents.bytes_contents)
    if len(values) != shape[0]:
        raise InvalidRequest(f"the shape promises {shape[0]} texts, and {len(values)} were sent", field="inputs.shape")
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"a text is not UTF-8: {error}", field="inputs.contents") from error


def write_outputs(
    response: oip_pb2.ModelInferResponse, labels: Sequence[str], scores: Sequence[float], *, wanted: Sequence[str]
) -> None:
    """Write the tensors named in `wanted` into `response`, their values raw."""
    for name in wanted:
        is_label = name == LABEL
        response.outputs.add(name=name, datatype="BYTES" if is_label else "FP32", shape=[len(labels)])
        response.raw_output_contents.append(_join(labels) if is_label else struct.pack(f"<{len(scores)}f", *scores))


def _split(data: bytes) -> list[bytes]:
    values = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise InvalidRequest("the raw contents end inside a length", field="raw_input_contents")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            raise InvalidRequest("the raw contents end inside a text", field="raw_input_contents")
        values.append(data[at : at + size])
        at += size
    return values


def _join(labels: Sequence[str]) -> bytes:
    return b"".join(_LENGTH.pack(len(value)) + value for value in (label.encode() for label in labels))


Choice = TypeVar("Choice", QueryClass, Tier)

KNOWN = ("request_priority", "query_class", "minimum_tier", "truncate", "timeout", "priority")
"""The parameters that are understood."""
_LEAST_IMPORTANT = 10
_LARGEST = 2**63 - 1
_CLASSES = {query_class.label: query_class for query_class in QueryClass if query_class}
_TIERS = {tier.label: tier for tier in Tier if tier}


@dataclass(slots=True, kw_only=True)
class Parameters:
    """What the parameters say; `timeout_s` is None without one."""

    priority: float = DEFAULT_PRIORITY
    query_class: QueryClass = QueryClass.UNSPECIFIED
    minimum_tier: Tier = Tier.UNSPECIFIED
    truncate: bool = False
    timeout_s: float | None = None


def read_parameters(sent: Mapping[str, oip_pb2.InferParameter]) -> Parameters:
    """The request's parameters. Raises InvalidRequest for one that is known and wrong; unknown ones are ignored."""
    read = Parameters()
    for name, parameter in sent.items():
        if name not in KNOWN:
            continue
        field = f"parameters.{name}"
        value = _value(parameter, field)
        if name == "request_priority":
            read.priority = _number(value, field)
            check_priority(read.priority, field)
        elif name == "priority":
            rank_priority = priority_of_rank(_whole(value, field))
            if "request_priority" not in sent:
                read.priority = rank_priority
        elif name == "timeout":
            read.timeout_s = _whole(value, field) / 1e6 or None
        elif name == "query_class":
            read.query_class = _one_of(_CLASSES, value, field)
        elif name == "minimum_tier":
            read.minimum_tier = _one_of(_TIERS, value, field)
        elif name == "truncate":
            read.truncate = _flag(value, field)
    return read


def priority_of_rank(rank: int) -> float:
    """A rank as other servers count it (1 is the most important, 0 the server's default) as a priority in [0, 1].

    Ranks 1 to 10 are spread evenly from 1 down to 0; greater ones are as little important as the tenth.
    """
    if rank == 0:
        return DEFAULT_PRIORITY
    return 1.0 - (min(rank, _LEAST_IMPORTANT) - 1) / (_LEAST_IMPORTANT - 1)


def _value(parameter: oip_pb2.InferParameter, field: str) -> bool | int | float | str | None:
    kind = parameter.WhichOneof("parameter_choice")
    value: bool | int | float | str | None = getattr(parameter, kind) if kind else None
    if isinstance(value, str):
        check_size(value, MAX_PARAMETER_BYTES, field)
    return value


def _number(value: object, field: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(f"{field} is {value!r}, and must be a number", field=field) from None


def _whole(value: object, field: str) -> int:
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= _LARGEST or isinstance(value, bool) or (isinstance(value, float) and value != number):
        raise InvalidRequest(f"{field} is {value!r}, and must be a whole number, not negative", field=field)
    return int(number)


def _flag(value: object, field: str) -> bool:
    if value not in (True, False, "true", "false"):
        raise InvalidRequest(f"{field} is {value!r}, and must be true or false", field=field)
    return value in (True, "true")


def _one_of(names: Mapping[str, Choice], value: object, field: str) -> Choice:
    if value not in names:
        raise InvalidRequest(f"{field} is {value!r}, and must be one of {', '.join(names)}", field=field)
    return names[str(value)]
