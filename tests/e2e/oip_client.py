"""Stock tritonclient against a router, run by that client's own interpreter: oip_client.py ADDRESS [CASE ...]

Prints one JSON object: for each case its outcome by the threaded and by the asyncio client. It imports nothing of
Sluice: the two cannot share a process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as threaded
import tritonclient.grpc.aio as aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

MODEL = "echo"
TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
Case = Callable[[Any], Any]
"""What to ask of a client; both clients spell it alike, and one answers with something to await."""


def tensor(texts: list[bytes], shape: list[int] | None = None, name: str = "text") -> threaded.InferInput:
    """A BYTES tensor of texts."""
    made = threaded.InferInput(name, shape or [len(texts)], "BYTES")
    made.set_data_from_numpy(np.array(texts, dtype=object).reshape(shape or [len(texts)]))
    return made


def numbers() -> threaded.InferInput:
    """A tensor of a datatype that no text has."""
    made = threaded.InferInput("text", [1], "FP32")
    made.set_data_from_numpy(np.array([1.0], dtype=np.float32))
    return made


def infer(texts: list[bytes], *, model: str = MODEL, shape: list[int] | None = None, **options: Any) -> Case:
    """A case that sends texts in one tensor."""
    return lambda client: client.infer(model, [tensor(texts, shape)], client_timeout=20, **options)


def infer_with(*inputs: threaded.InferInput) -> Case:
    """A case that sends these tensors."""
    return lambda client: client.infer(MODEL, list(inputs), client_timeout=20)


def outputs(*names: str) -> list[threaded.InferRequestedOutput]:
    """The tensors that are wanted."""
    return [threaded.InferRequestedOutput(name) for name in names]


CASES: dict[str, Case] = {
    "live": lambda client: client.is_server_live(),
    "ready": lambda client: client.is_server_ready(),
    "model ready": lambda client: client.is_model_ready(MODEL),
    "unknown model ready": lambda client: client.is_model_ready("nobody"),
    "server metadata": lambda client: client.get_server_metadata(as_json=True),
    "model metadata": lambda client: client.get_model_metadata(MODEL, as_json=True),
    "unknown model metadata": lambda client: client.get_model_metadata("nobody", as_json=True),
    "model config": lambda client: client.get_model_config(MODEL),
    "one": infer([b"where is my parcel?"], request_id="mine"),
    "three": infer([b"a", "\u4f60\u597d".encode(), b"c"]),
    "column": infer([b"a", b"b"], shape=[2, 1]),
    "a version": infer([b"a"], model_version="7"),
    "compressed": infer([b"a" * 5000], compression_algorithm="gzip", parameters={"query_class": "simple"}),
    "traced": infer([b"a"], headers={"traceparent": TRACEPARENT}),
    "score only": infer([b"a", b"b"], outputs=outputs("score")),
    "both, turned": infer([b"a"], outputs=outputs("score", "label")),
    "unknown output": infer([b"a"], outputs=outputs("label", "logits")),
    "complex": infer([b"a"], parameters={"query_class": "complex"}),
    "real time": infer([b"a"], parameters={"query_class": "real_time"}),
    "minimum tier": infer([b"a"], parameters={"query_class": "real_time", "minimum_tier": "full"}),
    "unknown class": infer([b"a"], parameters={"query_class": "rude"}),
    "request_priority": infer([b"a"], parameters={"request_priority": "0.9", "truncate": True}),
    "request_priority as a number": infer([b"a"], parameters={"request_priority": 1}),
    "request_priority too high": infer([b"a"], parameters={"request_priority": "1.5"}),
    "request_priority no number": infer([b"a"], parameters={"request_priority": "high"}),
    "unknown parameter": infer([b"a"], parameters={"colour": "blue"}),
    "priority": infer([b"a"], priority=1),
    "least priority": infer([b"a"], priority=2**32),
    "timeout": infer([b"a"], timeout=20_000_000),
    "no timeout": infer([b"a"], timeout=0),
    "tiny timeout": infer([b"a"], timeout=1),
    "tiny timeout of many": infer([b"a"] * 50, timeout=1),
    "negative timeout": infer([b"a"], timeout=-1),
    "300 ms": infer([b"a"], timeout=300_000),
    "datatype": infer_with(numbers()),
    "matrix": infer([b"a"] * 4, shape=[2, 2]),
    "three dimensions": infer([b"a"], shape=[1, 1, 1]),
    "too many": infer([b"a"] * 1025),
    "most": infer([b"a"] * 1024),
    "two inputs": infer_with(tensor([b"a"]), tensor([b"b"])),
    "no input": infer_with(),
    "input name": infer_with(tensor([b"a"], name="prompt")),
    "unknown model": infer([b"a"], model="nobody"),
    "empty": infer([b""]),
    "blank": infer([b" \n\t"]),
    "one of many empty": infer([b"a", b"", b"c"]),
    "too long": infer([b"a" * 70_000]),
    "not UTF-8": infer([b"\xff\xfe"]),
}

TENSOR = service_pb2.ModelInferRequest.InferInputTensor
MESSAGES: dict[str, service_pb2.ModelInferRequest] = {
    "contents": service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[2], contents={"bytes_contents": [b"a", b"b"]})],
    ),
    "contents in a column": service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[2, 1], contents={"bytes_contents": [b"a", b"b"]})],
    ),
    "contents not UTF-8": service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[1], contents={"bytes_contents": [b"\xff"]})],
    ),
    "no model named": service_pb2.ModelInferRequest(
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[1], contents={"bytes_contents": [b"a"]})]
    ),
    "fewer than promised": service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[3])],
        raw_input_contents=[b"\x01\0\0\0a\x01\0\0\0b"],
    ),
    "raw cut short": service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[1])],
        raw_input_contents=[b"\x09\0\0\0ab"],
    ),
    "raw contents of two": service_pb2.ModelInferRequest(
        model_name=MODEL,
        inputs=[TENSOR(name="text", datatype="BYTES", shape=[1])],
        raw_input_contents=[b"\x01\0\0\0a", b"\x01\0\0\0b"],
    ),
    "negative shape": service_pb2.ModelInferRequest(
        model_name=MODEL, inputs=[TENSOR(name="text", datatype="BYTES", shape=[-1])], raw_input_contents=[b""]
    ),
}
"""What tritonclient's own methods never send, and its stub can."""


def plain(value: Any) -> Any:
    """An outcome as JSON can hold it."""
    if not hasattr(value, "get_response"):
        return value
    response = value.get_response()
    tensors = {one.name: value.as_numpy(one.name) for one in response.outputs}
    kinds = {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in response.parameters.items()}
    return {
        "model": response.model_name,
        "version": response.model_version,
        "id": response.id,
        "parameters": kinds,
        "order": list(tensors),
        "labels": [one.decode() for one in tensors["label"]] if "label" in tensors else None,
        "scores": tensors["score"].tolist() if "score" in tensors else None,
    }


def failed(error: InferenceServerException) -> dict[str, str]:
    """A failure's status and message."""
    return {"status": str(error.status()).removeprefix("StatusCode."), "message": error.message()}


def by_threads(address: str, cases: dict[str, Case]) -> dict[str, Any]:
    """Each case's outcome by the threaded client."""
    outcomes = {}
    with threaded.InferenceServerClient(address) as client:
        for name, case in cases.items():
            try:
                outcomes[name] = plain(case(client))
            except InferenceServerException as error:
                outcomes[name] = failed(error)
    return outcomes


async def by_asyncio(address: str, cases: dict[str, Case]) -> dict[str, Any]:
    """Each case's outcome by the asyncio client, all at once."""

    async def outcome(case: Case, client: Any) -> Any:
        try:
            waiting: Awaitable[Any] = case(client)
            return plain(await waiting)
        except InferenceServerException as error:
            return failed(error)

    async with aio.InferenceServerClient(address) as client:
        found = await asyncio.gather(*(outcome(case, client) for case in cases.values()))
    return dict(zip(cases, found, strict=True))


def by_stub(address: str) -> dict[str, Any]:
    """The outcome of each message, by tritonclient's generated stub."""
    outcomes: dict[str, Any] = {}
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name, message in MESSAGES.items():
            try:
                outcomes[name] = plain(threaded.InferResult(stub.ModelInfer(message, timeout=20)))
            except grpc.RpcError as error:
                outcomes[name] = {"status": error.code().name, "message": error.details()}
    return outcomes


def main(address: str, names: list[str]) -> None:
    """Run the named cases, or all."""
    cases = {name: CASES[name] for name in names} or CASES
    found = {"threads": by_threads(address, cases), "asyncio": asyncio.run(by_asyncio(address, cases))}
    print(json.dumps({**found, "stub": {} if names else by_stub(address)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
