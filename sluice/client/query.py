"""What a caller asks: a text and how it is to be treated."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sluice.domain.enums import QueryClass, Tier
from sluice.domain.errors import InvalidRequest
from sluice.v1 import inference_service_pb2 as inference_pb2

NO_TIMEOUT = "a request without a deadline can wait for ever and nobody would know; give timeout_s in seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One text. None leaves a choice to the mesh: the priority (0.5), the class (inferred), the client's timeout."""

    text: str
    model: str = ""
    priority: float | None = None
    query_class: QueryClass = QueryClass.UNSPECIFIED
    minimum_tier: Tier = Tier.UNSPECIFIED
    truncate: bool = False
    top_k: int = 0
    conversation_id: str = ""
    request_id: str = ""
    timeout_s: float | None = None


def to_proto(query: Query) -> inference_pb2.InferRequest:
    """The message that asks `query`. Raises InvalidRequest, with the field's name, where the message cannot hold it."""
    try:
        return inference_pb2.InferRequest(
            model=query.model,
            text=query.text,
            priority=query.priority,
            query_class=query.query_class.value,  # type: ignore[arg-type]
            minimum_tier=query.minimum_tier.value,  # type: ignore[arg-type]
            truncate=query.truncate,
            top_k=query.top_k,
            conversation_id=query.conversation_id,
            request_id=query.request_id,
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise _refusal(query, error) from None


def _refusal(query: Query, error: Exception) -> InvalidRequest:
    """What is said of a query that cannot be sent because of `error`: the first field that cannot."""
    for field in fields(query):
        if field.name == "timeout_s":
            continue
        try:
            inference_pb2.InferRequest(**{field.name: getattr(query, field.name)})
        except (TypeError, ValueError) as cause:
            return InvalidRequest(f"{field.name} cannot be sent: {cause}", field=field.name)
    return InvalidRequest(f"the query cannot be sent: {error}")


def checked_timeout(timeout_s: float | None) -> float:
    """A client's default timeout. Raises ValueError unless it is a positive, finite number of seconds."""
    if timeout_s is None or not 0 < timeout_s < float("inf"):
        raise ValueError(NO_TIMEOUT)
    return timeout_s


def checked_max_open(max_open: int) -> int:
    """How many texts may be open at a time. Raises ValueError unless it is at least 1."""
    if max_open < 1:
        raise ValueError(f"max_open is {max_open}: with none open at a time, no text would ever be sent")
    return max_open
