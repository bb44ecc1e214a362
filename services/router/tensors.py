"""Between Open Inference Protocol tensors and texts: reading a request's one tensor, writing an answer's two."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from services.router.requests.validation import check_shape, shown
from sluice.domain.errors import InvalidRequest
from sluice.open_inference import grpc_service_pb2 as oip_pb2

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
