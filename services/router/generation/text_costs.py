"""What a text costs, in seconds of a device, learnt from texts that have ended.

A lone text has the device for itself and takes as much of it as hundreds do together, so its time says little about
what one more costs. So an estimate follows only texts that ended while others waited for memory, and else only falls.
"""

from __future__ import annotations

from collections.abc import Collection

# What admission counts for a text while nothing is known of its cost.
UNKNOWN_COST_S = 1e-3
FOLLOW = 0.05


class TextCosts:
    """By model: device time per token written, and how many tokens a text usually has."""

    def __init__(self) -> None:
        self._token_s: dict[str, float] = {}
        self._tokens: dict[str, float] = {}

    def keep(self, models: Collection[str]) -> None:
        """Forget all but `models`."""
        for known in (self._token_s, self._tokens):
            for model in [one for one in known if one not in models]:
                del known[model]

    def expected_s(self, model: str, max_new_tokens: int) -> float:
        """What a text of at most so many tokens is expected to take."""
        token_s = self._token_s.get(model)
        if token_s is None:
            return UNKNOWN_COST_S
        return token_s * min(max_new_tokens, self._tokens[model])

    def learn(self, model: str, *, tokens: int, device_s: float, contended: bool) -> None:
        """A text of `tokens` ended, and took `device_s`; `contended` says that others waited to be written."""
        if tokens <= 0 or device_s <= 0.0:
            return
        seen_s = device_s / tokens
        known_s = self._token_s.get(model)
        if known_s is None:
            if contended:
                self._token_s[model], self._tokens[model] = seen_s, float(tokens)
            return
        self._tokens[model] += FOLLOW * (tokens - self._tokens[model])
        if contended or seen_s < known_s:
            self._token_s[model] += FOLLOW * (seen_s - known_s)
