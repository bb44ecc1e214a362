"""Between the public contract and the router's core: requests one way, answers the other. No policy here."""

from __future__ import annotations

from services.router.request import DEFAULT_PRIORITY, Answer, Request
from services.router.requests.caller import Caller
from services.router.requests.validation import bounded_traceparent
from sluice.errors import InvalidRequest
from sluice.tier import QueryClass, Tier
from sluice.v1 import inference_service_pb2 as inference_pb2

_TIERS = {tier.value: tier for tier in Tier}
_CLASSES = {query_class.value: query_class for query_class in QueryClass}


def priority_of(message: inference_pb2.InferRequest | inference_pb2.GenerateRequest) -> float:
    """The priority that `message` asks for, be it one or not."""
    return message.priority if message.HasField("priority") else DEFAULT_PRIORITY


def tier_of(number: int) -> Tier:
    """The tier that `number` means. Raises InvalidRequest for one that is none."""
    try:
        return _TIERS[number]
    except KeyError:
        raise InvalidRequest(f"there is no tier {number}", field="minimum_tier") from None


def to_request(
    message: inference_pb2.InferRequest, *, deadline: float, traceparent: str, caller: Caller, message_bytes: int = 0
) -> Request:
    """The request that `message`, of `message_bytes`, makes. Raises InvalidRequest for numbers outside the enums."""
    try:
        query_class = _CLASSES[message.query_class]
    except KeyError:
        raise InvalidRequest(f"there is no query class {message.query_class}", field="query_class") from None
    return Request(
        model=message.model,
        text=message.text,
        deadline=deadline,
        priority=priority_of(message),
        query_class=query_class,
        minimum_tier=tier_of(message.minimum_tier),
        truncate=message.truncate,
        top_k=message.top_k,
        conversation_id=message.conversation_id,
        request_id=message.request_id,
        traceparent=bounded_traceparent(traceparent),
        caller=caller,
        message_bytes=message_bytes,
    )


def fill_response(message: inference_pb2.InferResponse, answer: Answer, request_id: str) -> None:
    """Write `answer` into `message`."""
    result, variant = answer.result, answer.variant
    if result.HasField("classification"):
        message.classification.CopyFrom(result.classification)
    else:
        message.embedding.CopyFrom(result.embedding)
    message.request_id = request_id
    message.model = variant.model
    message.variant = variant.id
    message.tier = variant.tier.value  # type: ignore[assignment]
    message.precision = variant.precision
    message.worker = answer.worker
    message.degraded_from = answer.degraded_from.value  # type: ignore[assignment]
    message.trace_id = answer.trace_id
    if answer.levels:
        message.levels.extend(answer.levels)  # type: ignore[arg-type]
    timing = message.timing
    # Requests are answered in far less than an hour, so the times are set field by field rather than by a converter.
    _set(timing.queue, answer.queue_s)
    _set(timing.batch, answer.batch_s)
    _set(timing.compute, answer.compute_s)


def _set(duration: object, seconds: float) -> None:
    whole = int(seconds)
    duration.seconds = whole  # type: ignore[attr-defined]
    duration.nanos = int((seconds - whole) * 1e9)  # type: ignore[attr-defined]
