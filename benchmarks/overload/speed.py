"""How fast a stand-in for a device is, and the waiting that stands for its computing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# As the router guesses a text's tokens: near enough for a cost that only has to grow with length.
BYTES_PER_TOKEN = 4
TOKENS_MORE = 2
STEP_S = 0.002
# What a clock cannot tell from nothing.
LEAST_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A batch takes `base_s`, and `token_s` for each token of its texts."""

    base_s: float
    token_s: float

    def batch_s(self, tokens: float) -> float:
        """How long a batch of so many tokens takes."""
        return self.base_s + self.token_s * tokens

    def capacity(self, items: int, tokens: float) -> float:
        """Texts a second, in batches of `items` texts of `tokens` tokens each."""
        return items / self.batch_s(items * tokens)

    def scaled(self, factor: float) -> Speed:
        """`factor` times as fast."""
        return Speed(base_s=self.base_s / factor, token_s=self.token_s / factor)

    def to_json(self) -> dict[str, float]:
        """For the results."""
        return {"base_ms": self.base_s * 1000, "us_per_token": self.token_s * 1e6}


def per_second(texts: float, *, tokens: float, base_s: float, items: int = 32) -> Speed:
    """The speed at which batches of `items` texts come to `texts` a second."""
    return Speed(base_s=base_s, token_s=(items / texts - base_s) / (items * tokens))


def tokens_of(text: str) -> int:
    """About how many tokens a text has."""
    return TOKENS_MORE + len(text.encode()) // BYTES_PER_TOKEN


def wait(
    duration_s: float,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Wait as a device computes: a process that is stopped meanwhile gets nothing done, and takes that much longer."""
    left_s = duration_s
    now = clock()
    while left_s > LEAST_S:
        sleep(min(left_s, STEP_S))
        then, now = now, clock()
        left_s -= min(now - then, 2 * STEP_S)


def mean_tokens(texts: Sequence[str]) -> float:
    """The mean of `tokens_of` over texts."""
    return sum(map(tokens_of, texts)) / len(texts)
