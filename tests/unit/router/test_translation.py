"""Between the public contract and the core."""

from __future__ import annotations

import pytest

from services.router.api.codec import encode_response, infer_request_from_proto
from services.router.requests.caller import Caller
from services.router.requests.request import DEFAULT_PRIORITY, InferResult, Request
from sluice.domain.enums import Level, QueryClass, Task, Tier
from sluice.domain.errors import InvalidRequest
from sluice.domain.status import seconds_of
from sluice.domain.variant import Variant
from sluice.v1 import inference_service_pb2 as inference_pb2
from sluice.v1 import worker_service_pb2 as worker_pb2

VARIANT = Variant(
    id="m/light-bf16", model="m", tier=Tier.LIGHT, task=Task.TEXT_CLASSIFICATION, precision="bf16", labels=("a", "b")
)


def request_of(message: inference_pb2.InferRequest) -> Request:
    return infer_request_from_proto(message, deadline=7.0, traceparent="trace", caller=Caller("peer"))


def answer(
    result: worker_pb2.ItemResult, *, levels: tuple[Level, ...] = (), degraded_from: Tier = Tier.UNSPECIFIED
) -> InferResult:
    return InferResult(
        result=result,
        variant=VARIANT,
        worker="w1",
        levels=levels,
        degraded_from=degraded_from,
        queue_s=1.5,
        batch_s=0.002,
        compute_s=0.25,
        trace_id="0" * 31 + "1",
    )


def filled(given: InferResult) -> inference_pb2.InferResponse:
    return inference_pb2.InferResponse.FromString(encode_response(given, "mine"))


def test_every_field_of_a_request_arrives() -> None:
    message = inference_pb2.InferRequest(
        model="m",
        text="text",
        priority=0.9,
        query_class=3,  # type: ignore[arg-type]
        minimum_tier=2,  # type: ignore[arg-type]
        truncate=True,
        top_k=5,
        conversation_id="c",
        request_id="r",
    )
    assert request_of(message) == Request(
        model="m",
        text="text",
        deadline=7.0,
        priority=0.9,
        query_class=QueryClass.REAL_TIME,
        minimum_tier=Tier.LIGHT,
        truncate=True,
        top_k=5,
        conversation_id="c",
        request_id="r",
        traceparent="trace",
        caller=Caller("peer"),
    )


def test_an_absent_priority_is_the_middle_and_a_zero_is_zero() -> None:
    assert request_of(inference_pb2.InferRequest(text="t")).priority == DEFAULT_PRIORITY == 0.5
    assert request_of(inference_pb2.InferRequest(text="t", priority=0.0)).priority == 0.0


@pytest.mark.parametrize("number", [-1, 4, 99])
@pytest.mark.parametrize("field", ["query_class", "minimum_tier"])
def test_a_number_that_is_in_no_enum_is_refused_by_its_field(field: str, number: int) -> None:
    message = inference_pb2.InferRequest(text="t")
    setattr(message, field, number)
    with pytest.raises(InvalidRequest, match=str(number)) as caught:
        request_of(message)
    assert caught.value.field == field


def test_an_answer_says_who_gave_it_and_where_the_time_went() -> None:
    result = worker_pb2.ItemResult(id=3)
    result.classification.label, result.classification.score = "a", 0.75
    result.classification.scores.add(label="a", score=0.75)
    message = filled(answer(result, levels=(Level.OFFLOAD, Level.ADMIT), degraded_from=Tier.FULL))
    assert message.classification == result.classification
    assert (message.request_id, message.model, message.variant, message.worker) == ("mine", "m", "m/light-bf16", "w1")
    assert (int(message.tier), message.precision, int(message.degraded_from)) == (Tier.LIGHT, "bf16", Tier.FULL)
    assert list(message.levels) == [1, 3]
    assert message.trace_id == "0" * 31 + "1"
    timing = message.timing
    assert [seconds_of(part) for part in (timing.queue, timing.batch, timing.compute)] == pytest.approx(
        [1.5, 0.002, 0.25]
    )


def test_a_vector_passes_through_untouched() -> None:
    result = worker_pb2.ItemResult(id=3)
    result.embedding.values.extend([0.5, -0.25])
    message = filled(answer(result))
    assert list(message.embedding.values) == [0.5, -0.25]
    assert not message.HasField("classification")
    assert (list(message.levels), int(message.degraded_from)) == ([], Tier.UNSPECIFIED)
