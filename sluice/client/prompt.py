"""What a caller wants to be written: a prompt and how to go on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluice.domain.enums import Tier
from sluice.v1 import inference_service_pb2 as inference_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt; every field as in the contract's GenerateRequest.

    None leaves a choice to the mesh: the priority (0.5), the tokens (128), the most probable token each time, and the
    client's timeout, which bounds the whole text. One stop string may be given by itself.
    """

    text: str
    model: str = ""
    priority: float | None = None
    minimum_tier: Tier = Tier.UNSPECIFIED
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int = 0
    seed: int | None = None
    stop: str | Sequence[str] = ()
    request_id: str = ""
    timeout_s: float | None = None


def to_proto(prompt: Prompt) -> inference_pb2.GenerateRequest:
    """The message that asks for it. Raises ValueError for a number that the message cannot hold."""
    if prompt.max_new_tokens is not None and prompt.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {prompt.max_new_tokens}: a text has at least one token")
    return inference_pb2.GenerateRequest(
        model=prompt.model,
        prompt=prompt.text,
        priority=prompt.priority,
        minimum_tier=prompt.minimum_tier.value,  # type: ignore[arg-type]
        max_new_tokens=prompt.max_new_tokens,
        temperature=prompt.temperature,
        top_p=prompt.top_p,
        top_k=prompt.top_k,
        seed=prompt.seed,
        stop=[prompt.stop] if isinstance(prompt.stop, str) else prompt.stop,
        request_id=prompt.request_id,
    )
