"""Checkpoints that are broken, asked for at a live CPU worker: refused by name, and what served goes on serving."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch
from safetensors.torch import load_file, save_file

from services.cpu_worker.load import load
from sluice.compression.package import pack
from sluice.domain.enums import Tier
from sluice.domain.errors import Reason
from sluice.v1 import worker_service_pb2 as worker_pb2
from tests.integration.live_worker import Worker, read, working
from tests.unit.engine import tiny

pytestmark = pytest.mark.torch
WEIGHTS, SERVED = "model.safetensors", "good/light-fp32"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that nobody changes."""
    return tiny.write(tmp_path_factory.mktemp("checkpoints") / "sound")


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A model root with a checkpoint `good`, and one, `bad`, to be broken."""
    for name in ("good", "bad"):
        shutil.copytree(sound, tmp_path / "models" / name)
    return tmp_path / "models"


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        file = root / "bad" / WEIGHTS
        state = load_file(file)
        change(state)
        save_file(state, file, metadata={"format": "pt"})
        return "bad"

    return damage


def content(change: Callable[[bytes], bytes], name: str = WEIGHTS) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        file = root / "bad" / name
        file.write_bytes(change(file.read_bytes()))
        return "bad"

    return damage


def config(**changes: Any) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        tiny.edit(root / "bad" / "config.json", **changes)
        return "bad"

    return damage


def without(name: str) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        (root / "bad" / name).unlink()
        return "bad"

    return damage


def graph(data: bytes) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        (root / "bad" / "onnx").mkdir()
        (root / "bad" / "onnx" / "model_int8.onnx").write_bytes(data)
        return "bad"

    return damage


def file(data: bytes) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        (root / "bad.pt").write_bytes(data)
        return "bad.pt"

    return damage


def state_dict(root: Path) -> str:
    torch.save(load_file(root / "bad" / WEIGHTS), root / "bad.pt")
    return "bad.pt"


def package(change: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def damage(root: Path) -> str:
        pack(root / "bad", root / "bad.pt")
        (root / "bad.pt").write_bytes(change((root / "bad.pt").read_bytes()))
        return "bad.pt"

    return damage


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)


BAD: dict[str, tuple[Callable[[Path], str], Tier, str]] = {
    "truncated weights": (content(lambda data: data[:-1000]), Tier.LIGHT, "bad/model.safetensors is truncated or"),
    "a tampered header": (
        content(lambda data: data.replace(b'"F32"', b'"F64"', 1)),
        Tier.LIGHT,
        "bad/model.safetensors is truncated or damaged",
    ),
    "NaN": (
        weights(lambda state: state["classifier.bias"].fill_(float("nan"))),
        Tier.LIGHT,
        "bad/model.safetensors holds NaN or infinity in 'classifier.bias'",
    ),
    "a weight that is missing": (
        weights(lambda state: state.pop("classifier.bias")),
        Tier.LIGHT,
        "bad/model.safetensors does not fit config.json: classifier.bias",
    ),
    "no tokenizer": (without("tokenizer.json"), Tier.LIGHT, "bad/tokenizer.json is missing"),
    "labels that disagree with the head": (
        config(id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}),
        Tier.LIGHT,
        "bad/model.safetensors does not fit config.json: classifier.bias is (4,) and should be (2,)",
    ),
    "no model": (without("config.json"), Tier.LIGHT, "bad/config.json is missing"),
    "a graph that is none": (graph(b"no graph at all"), Tier.QUANTIZED, "bad/onnx/model_int8.onnx"),
    "a file that is no model": (file(b"just words"), Tier.QUANTIZED, "bad.pt is no quantized checkpoint"),
    "an empty file": (file(b""), Tier.QUANTIZED, "bad.pt is no quantized checkpoint"),
    "a file that is not quantized": (state_dict, Tier.QUANTIZED, "bad.pt is no quantized checkpoint; tools/quantize"),
    "a truncated file": (package(lambda data: data[:-300]), Tier.QUANTIZED, "bad.pt is no quantized checkpoint"),
    "a tampered file": (package(flipped), Tier.QUANTIZED, "bad.pt is damaged"),
}


async def asked(call: Any, number: int, *items: dict[str, Any]) -> list[Any]:
    """What came of a batch of items, in their order."""
    message = worker_pb2.Batch(id=number, variant=SERVED)
    for place, item in enumerate(items, start=1):
        message.items.add(id=place, **item)
    await call.write(worker_pb2.ExecuteRequest(batch=message))
    response = await read(call)
    while not response.HasField("result"):
        response = await read(call)
    return sorted(response.result.results, key=lambda one: one.id)


async def load_good(running: Worker) -> Any:
    """A router's stream to a worker that has loaded `good`."""
    request = worker_pb2.LoadModelRequest(model="good", tier=Tier.LIGHT.value, checkpoint="good")  # type: ignore[arg-type]
    await running.stub.LoadModel(request)
    return await running.opened()


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_checkpoint_is_refused_by_name_and_what_served_goes_on_serving(root: Path, name: str) -> None:
    damage, tier, complaint = BAD[name]
    checkpoint = damage(root)
    async with working(root, load=partial(load, cache=str(root.parent / "cache"))) as running:
        call = await load_good(running)
        (before,) = await asked(call, 1, {"text": tiny.TEXTS[0]})
        request = worker_pb2.LoadModelRequest(model="bad", tier=tier.value, checkpoint=checkpoint)  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.LoadModel(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert complaint in (caught.value.details() or "")
        (after,) = await asked(call, 2, {"text": tiny.TEXTS[0]})
        assert before.classification.label in tiny.LABELS
        assert after == before
        described = await running.stub.DescribeModels(worker_pb2.DescribeModelsRequest())
        assert [one.id for one in described.worker.variants] == [SERVED]


async def test_a_text_longer_than_the_models_positions_is_an_invalid_argument_unless_it_may_be_cut(root: Path) -> None:
    async with working(root, load=partial(load, cache=str(root.parent / "cache"))) as running:
        call = await load_good(running)
        fine, long, cut = await asked(
            call, 1, {"text": "ok"}, {"text": tiny.TOO_LONG}, {"text": tiny.TOO_LONG, "truncate": True}
        )
    assert (long.status.code, long.status.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        Reason.INVALID_ARGUMENT,
    )
    assert long.status.field == "text"
    assert "tokens, and the model takes 64; set truncate to cut it" in long.status.message
    assert fine.classification.label in tiny.LABELS
    assert cut.classification.label in tiny.LABELS
