"""The bare one-hop server that the mesh is compared with: python -m benchmarks.echo_server ADDRESS [tuned]

`tuned` serves raw bytes on uvloop, as the router does; without it, this is grpc.aio as its documentation shows it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop

from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc

OPTIONS = (("grpc.server.max_pending_requests", 1_000_000), ("grpc.server.max_pending_requests_hard_limit", 1_000_000))


def answer(request: inference_pb2.InferRequest) -> inference_pb2.InferResponse:
    """What an identity model would say."""
    classification = inference_pb2.Classification(label="identity", score=1.0)
    return inference_pb2.InferResponse(request_id=request.request_id, classification=classification)


class EchoServicer(inference_grpc.InferenceServiceServicer):
    """Answers at once."""

    async def Infer(self, request: inference_pb2.InferRequest, context: Any) -> inference_pb2.InferResponse:
        """Answer one text."""
        del context
        return answer(request)


async def infer_bytes(data: bytes, context: Any) -> bytes:
    """Answer one text, reading and writing bytes ourselves."""
    del context
    return answer(inference_pb2.InferRequest.FromString(data)).SerializeToString()


async def serve(address: str, *, tuned: bool) -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=OPTIONS)
    if tuned:
        handler = grpc.unary_unary_rpc_method_handler(infer_bytes)
        generic = grpc.method_handlers_generic_handler("sluice.v1.InferenceService", {"Infer": handler})
        server.add_generic_rpc_handlers((generic,))
    else:
        inference_grpc.add_InferenceServiceServicer_to_server(EchoServicer(), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[2:] == ["tuned"]:
        uvloop.run(serve(sys.argv[1], tuned=True))
    else:
        asyncio.run(serve(sys.argv[1], tuned=False))
