"""What is asked: each arrival's text, class and priority, as a pure function of the seed and its number.

No arrival's draw depends on another's, so any number of processes can share one schedule and agree on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluice.domain.enums import QueryClass
from sluice.load.text import Text

THRESHOLD = 0.7
STEPS = 8
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing to ask. `hot` says whether its priority is at or above the threshold of 0.7."""

    text: Text
    query_class: QueryClass
    priority: float
    hot: bool


class Mix:
    """Draws asks: a share `hot` of them at or above the threshold, priorities evenly spread in each part.

    `classes` gives query classes their weights; empty, every text goes out with its own. A class is asked with a text
    of its own class if there is one, else with any. UNSPECIFIED stands for texts that go out without a class.
    """

    def __init__(self, texts: Sequence[Text], *, hot: float, classes: Mapping[QueryClass, float], seed: int) -> None:
        if not texts:
            raise ValueError("there is no text to send")
        self._hot = int(hot * (1 << 16))
        self._seed = _scrambled(seed)
        total = sum(classes.values())
        passed, self._classes = 0.0, []
        for query_class, weight in classes.items():
            passed += weight / total
            own = [one for one in texts if one.query_class is query_class]
            self._classes.append((int(passed * (1 << 16) + 0.5), query_class, own or list(texts)))
        self._texts = list(texts)
        self._asks: dict[tuple[int, QueryClass, int], Ask] = {}

    def ask(self, number: int, turn: int = 0) -> Ask:
        """What arrival `number` asks, in turn `turn` of its conversation. All turns of one are hot, or none."""
        own = _scrambled(self._seed + number)
        bits = _scrambled(own + turn) if turn else own
        hot = own & 0xFFFF < self._hot
        step = own >> 16 & STEPS - 1
        texts, query_class = self._texts, None
        for limit, one, candidates in self._classes:
            if bits >> 24 & 0xFFFF < limit:
                texts, query_class = candidates, one
                break
        text = texts[(bits >> 40) % len(texts)]
        asked = text.query_class if query_class is None else query_class
        key = (id(text), asked, step + STEPS * hot)
        found = self._asks.get(key)
        if found is None:
            low, high = (THRESHOLD, 1.0) if hot else (0.0, THRESHOLD)
            priority = low + (high - low) * (step + 0.5) / STEPS
            found = self._asks[key] = Ask(text=text, query_class=asked, priority=priority, hot=hot)
        return found

    def turns(self, number: int, least: int, most: int) -> int:
        """How many turns conversation `number` has, evenly in [least, most]."""
        return least + _scrambled(self._seed + number + 1) % (most - least + 1)


def _scrambled(value: int) -> int:
    """64 bits that look independent of those of `value` ± 1: the finisher of SplitMix64 (Steele et al. 2014)."""
    value = value * 0x9E3779B97F4A7C15 & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
