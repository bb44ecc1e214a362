"""A text that was written to its end, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.domain.enums import Tier
from sluice.domain.variant import Variant
from sluice.v1 import inference_service_pb2 as inference_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of a text. `finish_reason` is a number of the contract's FinishReason.

    Times are seconds since the text was admitted: until it had its memory, and until its first token had come.
    """

    variant: Variant
    worker: str
    degraded_from: Tier
    tokens: int
    prompt_tokens: int
    finish_reason: int
    queue_s: float
    first_token_s: float


def finish_name(finish_reason: int) -> str:
    """The contract's name of a reason, in lower case and without its prefix; its number, if it has none."""
    value = inference_pb2.FinishReason.DESCRIPTOR.values_by_number.get(finish_reason)
    return value.name.removeprefix("FINISH_REASON_").lower() if value is not None else str(finish_reason)
