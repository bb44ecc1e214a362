"""Between Generate's messages and the router's core: prompts one way, pieces the other. No policy here."""

from __future__ import annotations

from services.router.api.codec import priority_of, tier_of
from services.router.generation.outlet import Portion
from services.router.generation.written import Written
from services.router.requests.caller import Caller
from services.router.requests.generation import TextTicket
from services.router.requests.request import Request
from services.router.requests.sampling_params import DEFAULT_NEW_TOKENS, Sampling
from sluice.runtime.tracing import trace_id_of
from sluice.v1 import inference_service_pb2 as inference_pb2


def to_generation(
    message: inference_pb2.GenerateRequest, *, deadline: float, traceparent: str, caller: Caller, message_bytes: int = 0
) -> tuple[Request, Sampling]:
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
    sampling = Sampling(
        max_new_tokens=message.max_new_tokens or DEFAULT_NEW_TOKENS,
        temperature=message.temperature,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        top_k=message.top_k,
        seed=message.seed if message.HasField("seed") else None,
        stop=tuple(message.stop),
    )
    return request, sampling


def to_response(portion: Portion, ticket: TextTicket, *, is_first: bool) -> inference_pb2.GenerateResponse:
    """The message that brings `portion` of a text; the first one says who writes."""
    response = inference_pb2.GenerateResponse(text=portion.text, tokens=portion.tokens)
    if is_first and ticket.writer is not None:
        response.variant = ticket.writer.id
        response.worker = ticket.worker
        response.tier = ticket.writer.tier.value  # type: ignore[assignment]
        response.degraded_from = ticket.degraded_from.value  # type: ignore[assignment]
        response.trace_id = trace_id_of(ticket.request.traceparent)
    if isinstance(portion.outcome, Written):
        response.finish_reason = portion.outcome.finish_reason  # type: ignore[assignment]
        response.prompt_tokens = portion.outcome.prompt_tokens
    return response
