"""How a generation shall go on: how long, how freely, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_NEW_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The fields of the contract's Generation that its worker writes by."""

    max_new_tokens: int = DEFAULT_NEW_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
