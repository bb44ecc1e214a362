"""Open Inference Protocol tensors: what is read is what was sent, and nothing else is read."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.api.open_inference_codec import OUTPUTS, read_texts, write_outputs
from services.router.requests.validation import MAX_TEXTS
from sluice.domain.errors import InvalidRequest
from sluice.open_inference import grpc_service_pb2 as oip_pb2

some_texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8)


def raw(values: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def request(
    values: Sequence[bytes] = (b"text",),
    *,
    as_raw: bool = True,
    shape: Sequence[int] | None = None,
    name: str = "text",
    datatype: str = "BYTES",
) -> oip_pb2.ModelInferRequest:
    message = oip_pb2.ModelInferRequest()
    tensor = message.inputs.add(name=name, datatype=datatype, shape=[len(values)] if shape is None else shape)
    if as_raw:
        message.raw_input_contents.append(raw(values))
    else:
        tensor.contents.bytes_contents.extend(values)
    return message


def refused(message: oip_pb2.ModelInferRequest) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_texts(message)
    return caught.value.field


@given(some_texts, st.booleans(), st.booleans())
def test_texts_are_read_as_they_were_sent_however_they_are_packed(
    texts: list[str], as_raw: bool, as_column: bool
) -> None:
    shape = [len(texts), 1] if as_column else [len(texts)]
    message = request([text.encode() for text in texts], as_raw=as_raw, shape=shape)
    assert read_texts(oip_pb2.ModelInferRequest.FromString(message.SerializeToString())) == texts


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("inputs.name", {"name": "txt"}),
        ("inputs.datatype", {"datatype": "FP32"}),
        ("inputs.shape", {"shape": []}),
        ("inputs.shape", {"shape": [0]}),
        ("inputs.shape", {"shape": [-1]}),
        ("inputs.shape", {"shape": [1, 2]}),
        ("inputs.shape", {"shape": [1, 1, 1]}),
        ("inputs.shape", {"shape": [2]}),
        ("inputs.shape", {"shape": [2**40]}),
        ("inputs.shape", {"values": [b"x"] * (MAX_TEXTS + 1)}),
        ("inputs.contents", {"values": [b"\xff\xfe"]}),
        ("inputs.contents", {"values": [b"\xff\xfe"], "as_raw": False}),
    ],
)
def test_a_tensor_that_is_not_what_it_should_be_is_refused_by_the_part_at_fault(
    field: str, changes: dict[str, object]
) -> None:
    assert refused(request(**changes)) == field  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one_input(count: int) -> None:
    message = oip_pb2.ModelInferRequest()
    for _ in range(count):
        message.inputs.add(name="text", datatype="BYTES", shape=[1])
    assert refused(message) == "inputs"


@given(st.binary(max_size=40))
def test_raw_contents_are_texts_or_refused_whatever_they_hold(data: bytes) -> None:
    message = request()
    message.raw_input_contents[0] = data
    try:
        (text,) = read_texts(message)
    except InvalidRequest:
        return
    assert raw([text.encode()]) == data


def test_the_raw_contents_of_several_tensors_are_not_those_of_one() -> None:
    message = request()
    message.raw_input_contents.append(raw([b"other"]))
    assert refused(message) == "raw_input_contents"


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_raw_contents_that_end_too_early_are_refused(cut: int) -> None:
    message = request()
    message.raw_input_contents[0] = raw([b"text"])[:-cut]
    assert refused(message) in {"raw_input_contents", "inputs.shape"}


def test_the_largest_request_is_read() -> None:
    assert len(read_texts(request([b"x"] * MAX_TEXTS))) == MAX_TEXTS


@given(some_texts, st.permutations(OUTPUTS))
def test_answers_are_written_in_the_order_in_which_they_are_wanted(labels: list[str], wanted: list[str]) -> None:
    scores = [number / 8 for number in range(len(labels))]
    response = oip_pb2.ModelInferResponse()
    write_outputs(response, labels, scores, wanted=wanted)
    assert [(out.name, out.datatype) for out in response.outputs] == [
        (name, {"label": "BYTES", "score": "FP32"}[name]) for name in wanted
    ]
    assert {tuple(out.shape) for out in response.outputs} == {(len(labels),)}
    contents = dict(zip(wanted, response.raw_output_contents, strict=True))
    assert contents["label"] == raw([label.encode() for label in labels])
    assert list(struct.unpack(f"<{len(labels)}f", contents["score"])) == scores


def test_what_is_not_wanted_is_not_written() -> None:
    response = oip_pb2.ModelInferResponse()
    write_outputs(response, ["a"], [1.0], wanted=["score"])
    assert [out.name for out in response.outputs] == ["score"]
    assert len(response.raw_output_contents) == 1
