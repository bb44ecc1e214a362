"""Between the public contract and the router's core: requests one way, answers the other. No policy here."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.duration_pb2 import Duration

from services.router.requests.caller import Caller
from services.router.requests.generation import PendingGeneration, TokenChunk
from services.router.requests.request import DEFAULT_PRIORITY, GenerationResult, InferResult, Request
from services.router.requests.sampling_params import DEFAULT_NEW_TOKENS, SamplingParams
from sluice.domain.enums import Level, QueryClass, Tier
from sluice.domain.errors import InvalidRequest
from sluice.runtime.tracing import trace_id_of
from sluice.v1 import inference_service_pb2 as inference_pb2

# Workers times variants times what they stand in for; a stranger costs microseconds.
MAX_ORIGINS = 1_024

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


def infer_request_from_proto(
    message: inference_pb2.InferRequest, *, deadline: float, traceparent: str, caller: Caller, message_bytes: int = 0
) -> Request:
    """The request that `message`, of `message_bytes`, makes. `traceparent` is bounded already.

    Raises InvalidRequest for numbers outside the enums.
    """
    query_class = _CLASSES.get(message.query_class)
    if query_class is None:
        raise InvalidRequest(f"there is no query class {message.query_class}", field="query_class")
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
        traceparent=traceparent,
        caller=caller,
        message_bytes=message_bytes,
    )


def encode_response(answer: InferResult, request_id: str) -> bytes:
    """The InferResponse that `answer` makes, in its wire form.

    What answers of one worker share is encoded once: the fields of a message may stand in any order.
    """
    result, variant = answer.result, answer.variant
    message = inference_pb2.InferResponse(request_id=request_id, trace_id=answer.trace_id)
    if result.HasField("classification"):
        message.classification.CopyFrom(result.classification)
    else:
        message.embedding.CopyFrom(result.embedding)
    timing = message.timing
    # Requests are answered in far less than an hour, so the times are set field by field rather than by a converter.
    _set(timing.queue, answer.queue_s)
    _set(timing.batch, answer.batch_s)
    _set(timing.compute, answer.compute_s)
    return message.SerializeToString() + _origin(
        variant.model, variant.id, variant.tier, variant.precision, answer.worker, answer.degraded_from, answer.levels
    )


@lru_cache(maxsize=MAX_ORIGINS)
def _origin(
    model: str, variant: str, tier: Tier, precision: str, worker: str, degraded_from: Tier, levels: tuple[Level, ...]
) -> bytes:
    """The fields of an InferResponse that tell where it comes from."""
    return inference_pb2.InferResponse(
        model=model,
        variant=variant,
        tier=tier.value,  # type: ignore[arg-type]
        precision=precision,
        worker=worker,
        degraded_from=degraded_from.value,  # type: ignore[arg-type]
        levels=levels,  # type: ignore[arg-type]
    ).SerializeToString()


def _set(duration: Duration, seconds: float) -> None:
    if seconds >= 1.0:
        duration.seconds = int(seconds)
        seconds -= int(seconds)
    duration.nanos = int(seconds * 1e9)


# Between Generate's messages and the router's core: prompts one way, pieces the other. No policy here.


def generate_request_from_proto(
    message: inference_pb2.GenerateRequest, *, deadline: float, traceparent: str, caller: Caller, message_bytes: int = 0
) -> tuple[Request, SamplingParams]:
    """What `message` asks for, and how it shall go on. Raises InvalidRequest for a number that is no tier."""
    request = Request(
        model=message.model,
        text=message.prompt,
        deadline=deadline,
        priority=priority_of(message),
        minimum_tier=tier_of(message.minimum_tier),
        request_id=message.request_id,
        traceparent=traceparent,
        caller=caller,
        message_bytes=message_bytes,
    )
    sampling = SamplingParams(
        max_new_tokens=message.max_new_tokens or DEFAULT_NEW_TOKENS,
        temperature=message.temperature,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        top_k=message.top_k,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )
    return request, sampling


def generate_response_to_proto(
    portion: TokenChunk, ticket: PendingGeneration, *, is_first: bool
) -> inference_pb2.GenerateResponse:
    """The message that brings `portion` of a text; the first one says who writes."""
    response = inference_pb2.GenerateResponse(text=portion.text, tokens=portion.tokens)
    if is_first and ticket.writer is not None:
        response.variant = ticket.writer.id
        response.worker = ticket.worker
        response.tier = ticket.writer.tier.value  # type: ignore[assignment]
        response.degraded_from = ticket.degraded_from.value  # type: ignore[assignment]
        response.trace_id = trace_id_of(ticket.request.traceparent)
    if isinstance(portion.outcome, GenerationResult):
        response.finish_reason = portion.outcome.finish_reason  # type: ignore[assignment]
        response.prompt_tokens = portion.outcome.prompt_tokens
    return response
