"""A mesh whose full tier is a real `transformers serve`: a gRPC client gets what transformers writes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from subprocess import Popen
from typing import Any

import grpc
import pytest
import yaml

from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import inference_service_pb2_grpc as inference_grpc
from tests.e2e.local_mesh import HAS_TORCH, configuration, up

if HAS_TORCH:
    from tests.e2e import transformers_server
    from tests.e2e.transformers_server import TinyModel

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not (HAS_TORCH and find_spec("uvicorn")), reason="transformers[serving] is not installed"),
    pytest.mark.timeout(300),
]
PROMPT = "Thank you so much, everybody at home is happy with it"


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh that is up, the engine behind it, and what the engine serves."""

    stub: Any
    tiny: TinyModel
    engine: Popen[bytes]

    def generate(self, prompt: str, **fields: Any) -> list[inference_pb2.GenerateResponse]:
        """All messages of one text."""
        request = inference_pb2.GenerateRequest(model="chat", prompt=prompt, **fields)
        return list(self.stub.Generate(request, timeout=60))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("mesh")
    tiny = transformers_server.make(folder / "tiny")
    with transformers_server.serving(tiny.path, folder) as (url, engine):
        openai = {"url": url, "model": str(tiny.path), "max_tokens": transformers_server.MAX_TOKENS}
        entry = {"model": "chat", "tier": "full", "openai": openai}
        env = configuration(folder, gpu_worker={"models": [entry], "autonomous": False}, governor={"automatic": False})
        address = yaml.safe_load((folder / "mesh.yaml").read_text(encoding="utf-8"))["router"]["listen"]
        with up(folder, env), grpc.insecure_channel(address) as channel:
            yield Mesh(inference_grpc.InferenceServiceStub(channel), tiny, engine)


def test_a_text_comes_through_the_mesh_as_transformers_writes_it(mesh: Mesh) -> None:
    answers = mesh.generate(PROMPT, max_new_tokens=24)
    text, tokens = mesh.tiny.write(PROMPT, max_new_tokens=24)
    assert "".join(answer.text for answer in answers) == text
    assert answers[0].variant == "chat/full-external"
    assert answers[-1].tokens == tokens
    assert answers[-1].prompt_tokens == len(mesh.tiny.tokenizer(PROMPT).input_ids)
    assert answers[-1].finish_reason


def test_a_stop_string_and_bad_input_are_the_meshs_own(mesh: Mesh) -> None:
    text, _ = mesh.tiny.write(PROMPT, max_new_tokens=24)
    answers = mesh.generate(PROMPT, max_new_tokens=24, stop=[text[8:10]])
    assert "".join(answer.text for answer in answers) == text[: text.index(text[8:10])]
    with pytest.raises(grpc.RpcError) as caught:
        mesh.generate("")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_engine_that_dies_is_unavailable(mesh: Mesh) -> None:
    request = inference_pb2.GenerateRequest(
        model="chat", prompt=transformers_server.ENDLESS, max_new_tokens=transformers_server.MAX_TOKENS
    )
    call = mesh.stub.Generate(request, timeout=60)
    while next(call).tokens < 3:
        pass
    mesh.engine.kill()
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as caught:
        mesh.generate(PROMPT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
