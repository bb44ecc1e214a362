"""Whatever the router accepts, the wire to the worker, the worker and the engine's sampling can carry."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from google.protobuf.duration_pb2 import Duration
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.router.api.codec import generate_request_from_proto, infer_request_from_proto
from services.router.queueing.batch import InFlightBatch
from services.router.requests.caller import ANONYMOUS
from services.router.requests.generation import PendingGeneration
from services.router.requests.request import PendingRequest
from services.router.requests.validation import deadline_after, validate, validate_sampling
from services.router.workers.codec import batch_to_proto as to_batch
from services.router.workers.codec import generation_to_proto as to_proto
from sluice.domain.errors import Expired, InvalidRequest
from sluice.domain.status import seconds_of
from sluice.engine.encoder.heads import ClassificationHead
from sluice.engine.generation.sampler import SAMPLING, Sampler, SamplerState, sampled_scores
from sluice.engine.generation.sequence import StopChecker
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2
from sluice.worker.execution.backend import Classification, Item
from sluice.worker.server.codec import generation_from_proto
from tests.unit.strategies import texts

pytestmark = pytest.mark.torch

NOW = 1_000_000.0
LABELS = ("a", "b", "c")


def near(*bounds: int) -> st.SearchStrategy[int]:
    """Unsigned numbers at and around `bounds`."""
    return st.sampled_from([bound + step for bound in bounds for step in (-1, 0, 1)])


whole_32 = st.integers(0, 2**32 - 1) | near(2**31, 2**24, 2**16, 2**32 - 2)
whole_64 = st.integers(0, 2**64 - 1) | near(2**63, 2**32, 2**64 - 2)
numbers = st.floats() | st.sampled_from([5e-324, 1e-45, 1e-38, 3.4e38, 1e300, 1e6, 1.0, 1.0 - 2**-53])
durations = st.builds(
    Duration,
    seconds=st.integers(-(2**63), 2**63 - 1) | st.integers(-10, 10),
    nanos=st.integers(-(2**31), 2**31 - 1) | st.integers(-10, 10),
)
generates = st.builds(
    inference_pb2.GenerateRequest,
    model=texts,
    prompt=texts,
    priority=st.none() | numbers,
    minimum_tier=st.integers(-1, 4),
    max_new_tokens=whole_32,
    temperature=st.none() | numbers,
    top_p=st.none() | numbers,
    top_k=whole_32,
    seed=st.none() | whole_64,
    stop=st.lists(texts, max_size=17),
    request_id=texts,
)
items = st.builds(
    inference_pb2.InferStreamItem,
    id=whole_64,
    request=st.builds(
        inference_pb2.InferRequest,
        model=texts,
        text=texts,
        priority=st.none() | numbers,
        query_class=st.integers(-1, 4),
        minimum_tier=st.integers(-1, 4),
        truncate=st.booleans(),
        top_k=whole_32,
        conversation_id=texts,
        request_id=texts,
    ),
    timeout=durations,
)


def accepted_generation(message: inference_pb2.GenerateRequest, timeout_s: float) -> worker_pb2.Generation | None:
    """What a worker is sent of it, as it arrives; None when the router refuses it."""
    try:
        deadline = deadline_after(timeout_s, NOW)
        request, sampling = generate_request_from_proto(message, deadline=deadline, traceparent="", caller=ANONYMOUS)
        validate(request, max_text_bytes=65_536, now=NOW, text_field="prompt")
        validate_sampling(sampling)
    except (InvalidRequest, Expired):
        return None
    ticket = PendingGeneration(1, request, sampling, hot=False, now=NOW)
    return worker_pb2.Generation.FromString(to_proto(ticket, "m/full-fp32", NOW).SerializeToString())


def accepted_batch(item: inference_pb2.InferStreamItem) -> worker_pb2.Batch | None:
    """The same of a text on a stream."""
    try:
        deadline = deadline_after(seconds_of(item.timeout), NOW)
        request = infer_request_from_proto(item.request, deadline=deadline, traceparent="", caller=ANONYMOUS)
        validate(request, max_text_bytes=65_536, now=NOW)
    except (InvalidRequest, Expired):
        return None
    ticket = PendingRequest(1, request, lambda _: None, hot=False, now=NOW)
    batch = InFlightBatch(id=1, variant_id="m/full-fp32", tickets={1: ticket}, sent_at=NOW)
    return worker_pb2.Batch.FromString(to_batch(batch, "", NOW).SerializeToString())


def step(*samplings: SamplerState) -> torch.Tensor:
    """The tokens that one step of the engine draws for such texts."""
    samplers = Sampler()
    states: list[Any] = [
        SimpleNamespace(has_new_token=True, state=SimpleNamespace(logit_processor_kwargs={SAMPLING: one}))
        for one in samplings
    ]
    storage = torch.zeros((4, len(states)), dtype=torch.int32)
    arguments = samplers.prepare_tensor_args(states, storage)
    scores = torch.linspace(-4.0, 4.0, 50).repeat(len(states), 1)
    return (samplers(torch.zeros(1), scores, arguments) if samplers.do_processing else scores).argmax(-1)


@settings(max_examples=400, deadline=None)
@given(generates, st.floats())
@example(inference_pb2.GenerateRequest(prompt="x", temperature=1.0, top_k=2**31 - 1, seed=2**64 - 1), 1e18)
@example(inference_pb2.GenerateRequest(prompt="x", temperature=1e6, top_p=5e-324, max_new_tokens=2**31 - 1), 5.0)
def test_whatever_is_accepted_of_a_generation_the_engine_can_draw(
    message: inference_pb2.GenerateRequest, timeout_s: float
) -> None:
    sent = accepted_generation(message, timeout_s)
    if sent is None:
        return
    writing = generation_from_proto(sent, owner=SimpleNamespace(hear=print), now=0.0)  # type: ignore[arg-type]
    assert writing.timeout_s is not None
    assert 0.0 <= writing.timeout_s <= 86_400.0
    StopChecker(writing.prompt.stop)
    # What is counted in 32 bits.
    torch.tensor([writing.prompt.max_new_tokens], dtype=torch.int32)
    sampling = SamplerState(writing.prompt, seed=7)
    innocent = SamplerState(writing.prompt.__class__(text="", max_new_tokens=1), seed=0)
    for _ in range(3):
        drawn, greedy = step(sampling, innocent).tolist()
        assert 0 <= drawn < 50
        # The neighbour in the batch gets its own token.
        assert greedy == 49


@settings(max_examples=300, deadline=None)
@given(items)
def test_whatever_is_accepted_of_a_text_a_worker_can_answer(item: inference_pb2.InferStreamItem) -> None:
    batch = accepted_batch(item)
    if batch is None:
        return
    (sent,) = batch.items
    assert 0 <= sent.timeout.seconds <= 86_400
    head = ClassificationHead(LABELS, multi_label=False)
    mask = torch.ones((1, 1))
    (answer,) = head.outputs(torch.tensor([[0.0, 1.0, 2.0]]), mask, [Item(sent.text, sent.top_k, sent.truncate)])
    assert isinstance(answer, Classification)
    assert len(answer.scores) == min(sent.top_k, len(LABELS))


@pytest.mark.parametrize("top_k", [2**31, 2**32 - 1])
def test_a_bound_is_where_the_engine_ends(top_k: int) -> None:
    message = inference_pb2.GenerateRequest(prompt="x", temperature=1.0, top_k=top_k)
    assert accepted_generation(message, 1.0) is None
    with pytest.raises(RuntimeError, match="int32"):
        torch.tensor([top_k], dtype=torch.int32)


def test_the_hottest_is_still_a_draw() -> None:
    scores = sampled_scores(
        torch.zeros((1, 50)),
        temperature=torch.tensor([[1e6]]),
        top_p=torch.tensor([[1.0]]),
        top_k=torch.tensor([[0]], dtype=torch.int32),
        key=torch.tensor([[5]], dtype=torch.int32),
        truncated=False,
    )
    assert all(map(math.isfinite, scores[0].tolist()))
