"""The fuzz's messages: repeatable from a seed, and wild enough to be worth sending."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from google.protobuf.message import DecodeError, Message

from sluice.open_inference import grpc_service_pb2 as oip_pb2
from sluice.v1 import governor_service_pb2, inference_service_pb2, worker_service_pb2
from tests.fuzz.campaign import exceptions_in
from tests.fuzz.message_generator import disturbed, random_bytes_of

KINDS: tuple[Message, ...] = (
    inference_service_pb2.InferRequest(model="echo", text="text"),
    inference_service_pb2.InferStreamRequest(items=[{"id": 1, "request": {"text": "text"}}]),
    governor_service_pb2.JoinRequest(registration={"id": "one"}),
    worker_service_pb2.ExecuteResponse(welcome={"worker": "one", "variants": [{"id": "a"}]}),
    oip_pb2.ModelInferRequest(model_name="echo", parameters={"priority": {"int64_param": 1}}),
)


@pytest.mark.parametrize("plausible", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_a_seed_repeats_its_messages_and_another_does_not(plausible: Message) -> None:
    first, again, other = (
        [random_bytes_of(rng, plausible, words=("echo",)) for _ in range(50)]
        for rng in (Random(1), Random(1), Random(2))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("plausible", KINDS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_every_field_is_reached(plausible: Message) -> None:
    rng, seen = Random(3), set()
    for _ in range(2_000):
        try:
            message = type(plausible).FromString(random_bytes_of(rng, plausible, words=("echo",)))
        except (DecodeError, UnicodeDecodeError):
            seen.add("unreadable")
            continue
        seen.update(field.name for field, _ in message.ListFields())
    assert seen >= {field.name for field in plausible.DESCRIPTOR.fields} | {"unreadable"}


def test_a_disturbed_message_leaves_the_plausible_one_as_it_is() -> None:
    plausible = KINDS[0]
    before = plausible.SerializeToString()
    assert any(disturbed(Random(seed), plausible, words=()) != plausible for seed in range(20))
    assert plausible.SerializeToString() == before


def test_an_exception_in_a_log_is_found_once_for_each_kind(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    lines = [
        {"message": "listening"},
        {"message": "failed", "exception": "Traceback\nKeyError: 1"},
        {"message": "failed", "exception": "Traceback\nKeyError: 1"},
        {"message": "failed", "exception": "Traceback\nValueError: 2"},
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + "\nTraceback (most recent call last):\n", encoding="utf-8")
    assert len(exceptions_in(log)) == 3
