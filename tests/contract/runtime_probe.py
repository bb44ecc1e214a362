"""Run by foreign interpreters: imports every generated module, calls one generated service, and prints what came.

The arguments are the modules' names. The last line of output is JSON: the runtimes' versions, and a request's bytes.
"""

from __future__ import annotations

import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def main(names: list[str]) -> None:
    """Import `names` and let a request make its way through a real server, by the generated stubs alone."""
    modules = {name: importlib.import_module(name) for name in names}
    inference: Any = modules["sluice.v1.inference_service_pb2"]
    services: Any = modules["sluice.v1.inference_service_pb2_grpc"]
    tiers: Any = modules["sluice.v1.tier_pb2"]

    import google.protobuf
    import grpc

    class Echo(services.InferenceServiceServicer):  # type: ignore[misc]
        """Sends back what it was sent, as bytes in a text."""

        def Infer(self, request: Any, context: Any) -> Any:
            """Answer one text."""
            del context
            data = request.SerializeToString(deterministic=True)
            return inference.InferResponse(request_id=data.hex(), tier=tiers.TIER_FULL)

    request = inference.InferRequest(text="où est 我的 parcel?", priority=0.0, minimum_tier=tiers.TIER_LIGHT, top_k=3)
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    services.add_InferenceServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            response = services.InferenceServiceStub(channel).Infer(request, timeout=20)
    finally:
        server.stop(None).wait()
    data = bytes.fromhex(response.request_id)
    back = inference.InferRequest.FromString(data)
    if back != request or not back.HasField("priority") or response.tier != tiers.TIER_FULL:
        raise SystemExit(f"{request} came back as {back}")
    versions = {"protobuf": google.protobuf.__version__, "grpcio": grpc.__version__}
    print(json.dumps({**versions, "request": data.hex()}))


if __name__ == "__main__":
    main(sys.argv[1:])
