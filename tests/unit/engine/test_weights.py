"""Weight files are read once, in little memory, and whatever is wrong in one is found wherever it lies."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.cpu_worker.load import load
from sluice.domain.enums import Tier
from sluice.domain.errors import InvalidRequest
from sluice.engine.checkpoint.weights import WEIGHTS, fingerprint
from sluice.engine.encoder.profiler import PeakMemory
from sluice.worker.execution.backend import ModelSpec
from sluice.worker.models.loaders import with_profiling
from tests.unit.engine.tiny import write

pytestmark = pytest.mark.torch
BLOCK = 1 << 20


def saved(path: Path, **tensors: torch.Tensor) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text("{}", encoding="utf-8")
    save_file(tensors, path / WEIGHTS)
    return path


def plain_fingerprint(path: Path) -> str:
    """By its definition: name and size of each file, and its bytes."""
    digest = hashlib.sha256()
    for name in ("config.json", WEIGHTS):
        data = (path / name).read_bytes()
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def test_a_fingerprint_is_that_of_all_bytes(tmp_path: Path) -> None:
    checkpoint = saved(
        tmp_path / "mine",
        long=torch.arange(BLOCK, dtype=torch.float32),
        odd=torch.arange(5, dtype=torch.int8),
        empty=torch.zeros(0, 4),
        single=torch.tensor(1.5),
    )
    assert fingerprint(checkpoint) == plain_fingerprint(checkpoint)
    assert fingerprint(write(tmp_path / "other")) == plain_fingerprint(tmp_path / "other")


@pytest.mark.parametrize("place", [0, BLOCK // 4 - 1, BLOCK // 4, BLOCK])
def test_a_number_that_is_none_is_found_wherever_it_lies(tmp_path: Path, place: int) -> None:
    values = torch.ones(BLOCK + 1)
    values[place] = float("nan")
    with pytest.raises(InvalidRequest, match=r"model\.safetensors holds NaN or infinity in 'second'") as caught:
        fingerprint(saved(tmp_path / "mine", first=torch.ones(3), second=values))
    assert caught.value.field == "checkpoint"


FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e8m0fnu,
]


# One type of eight bits has no infinity; the largest number stands for it there.
NO_NUMBERS = [
    (kind, number)
    for kind in FLOATS
    for number in (float("nan"), float("inf"), float("-inf"))
    if kind is not torch.float8_e4m3fn or math.isnan(number)
]


@pytest.mark.parametrize(("kind", "number"), NO_NUMBERS, ids=str)
def test_every_type_of_float_is_searched(tmp_path: Path, kind: torch.dtype, number: float) -> None:
    with pytest.raises(InvalidRequest, match="holds NaN or infinity in 'a'"):
        fingerprint(saved(tmp_path / "mine", a=torch.tensor([1.0, number]).to(kind)))


@pytest.mark.parametrize("kind", FLOATS, ids=str)
def test_the_largest_and_the_smallest_numbers_are_numbers(tmp_path: Path, kind: torch.dtype) -> None:
    limits = torch.finfo(kind)
    extremes = torch.tensor([limits.max, limits.min, limits.tiny, 1.0], dtype=torch.float64)
    fingerprint(saved(tmp_path / "mine", a=extremes.to(kind)))


def header_of(file: Path) -> tuple[dict[str, Any], bytes]:
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


TAMPERINGS = {
    "beyond the end": lambda header: header["b"].update(data_offsets=[12, 1 << 40]),
    "one over the other": lambda header: header["b"].update(data_offsets=[8, 20]),
    "a gap": lambda header: header["a"].update(data_offsets=[0, 8], shape=[2]),
    "another shape": lambda header: header["a"].update(shape=[300]),
    "another type": lambda header: header["a"].update(dtype="F64"),
    "no type at all": lambda header: header["a"].update(dtype="F33"),
    "a tensor less": lambda header: header.pop("b"),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_header_that_was_tampered_with_is_refused(tmp_path: Path, how: str) -> None:
    checkpoint = saved(tmp_path / "mine", a=torch.ones(3), b=torch.ones(2))
    header, data = header_of(checkpoint / WEIGHTS)
    TAMPERINGS[how](header)
    packed = json.dumps(header).encode()
    (checkpoint / WEIGHTS).write_bytes(struct.pack("<Q", len(packed)) + packed + data)
    with pytest.raises(InvalidRequest, match=r"model\.safetensors is truncated or damaged"):
        fingerprint(checkpoint)


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    megabytes = 48
    checkpoint = saved(tmp_path / "mine", a=torch.ones(megabytes, BLOCK // 4))
    fingerprint(checkpoint)
    memory = PeakMemory()
    if memory.growth_bytes is None:
        pytest.skip("nobody counts memory here")
    fingerprint(checkpoint)
    assert memory.growth_bytes < megabytes * BLOCK / 4


def test_weights_are_read_once_from_start_to_profile(
    tiny_checkpoints: dict[str, Path], int8_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny_checkpoints["distilbert"]
    spec = ModelSpec(model="mine", tier=Tier.QUANTIZED, checkpoint=checkpoint, max_batch_size=1, threads=1)
    # The first start makes the graph, the others find it.
    load(spec, cache=str(int8_cache)).close()
    opened: list[str] = []
    actual = Path.open

    def counting(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self.name)
        return actual(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counting)
    backend = with_profiling(partial(load, cache=str(int8_cache)), seconds=1, cache=str(tmp_path))(spec)
    backend.warm_up()
    assert backend.variant.profile
    assert opened.count(WEIGHTS) == 1


def test_a_checkpoint_keeps_the_fingerprint_that_it_was_opened_with(tmp_path: Path) -> None:
    from sluice.engine.checkpoint.checkpoint import open_checkpoint

    checkpoint = write(tmp_path / "mine")
    opened = open_checkpoint(checkpoint)
    assert opened.fingerprint == plain_fingerprint(checkpoint)
    state = load_file(checkpoint / WEIGHTS)
    save_file({name: tensor + 1 for name, tensor in state.items()}, checkpoint / WEIGHTS, metadata={"format": "pt"})
    assert open_checkpoint(checkpoint).fingerprint != opened.fingerprint
