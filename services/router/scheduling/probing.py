"""Probes: what is believed of a variant's speed is put to the test, where nothing else would.

A variant that is thought too slow gets no work, so nothing would ever show that it is not: its profile may have been
measured on a busy machine. So now and then a request is sent to it all the same: one that would be refused otherwise,
or an unimportant one that another variant would have answered. Probes are rare where they confirm the belief, and
quick where they do not, as an estimate of a round trip is corrected by every answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from dataclasses import dataclass

# A belief that served requests have confirmed so lately needs no probe.
FRESH_S = 1.0
# The least time between two probes of a variant: for requests that would be refused, and for those that would not.
REFUSED_S, AVOIDED_S = 0.25, 2.0
MAX_INTERVAL_S = 60.0
# An answer that shortens the expected time by this factor or more shows that the belief was wrong.
CONFIRMED = 1.25
# Workers whose other variants answered hot requests so lately are held up by a probe once a minute at most.
HOT_S = 10.0
# How often requests that others would answer are looked at.
LOOK_S = 0.1
MAX_VARIANTS = 1_024


@dataclass(slots=True)
class _Probe:
    """The last probe: when, what was believed of the pace then, and how long until the next if it confirmed that."""

    at: float
    pace: float
    interval_s: float


class Probing:
    """Whose turn it is to be probed. Pure: clocks, in seconds, and beliefs are arguments."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, _Probe] = OrderedDict()
        self._hot_at: dict[str, float] = {}
        self._looked_at = float("-inf")

    def keep(self, served: Container[str]) -> None:
        """Forget the variants that are not `served` any more."""
        for variant_id in [one for one in self._last if one not in served]:
            del self._last[variant_id]
        self._hot_at = {name: at for name, at in self._hot_at.items() if name in served}

    def note_hot(self, variant_id: str, now: float) -> None:
        """A hot request is placed on the variant."""
        self._hot_at[variant_id] = now

    def would_hold_up_hot(self, beside: Iterable[str], now: float) -> bool:
        """Whether hot requests were placed of late on a variant `beside` the one to probe, on the same workers."""
        return any(now - self._hot_at.get(name, float("-inf")) < HOT_S for name in beside)

    def may_look(self, now: float) -> bool:
        """Whether it is time to look for a variant that is only avoided; says so ten times a second at most."""
        if now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        return True

    def is_due(self, variant_id: str, *, pace: float, answered_at: float, least_s: float, now: float) -> bool:
        """Whether a variant may be probed: it answered last at `answered_at`, and takes `pace` times its profile."""
        last = self._last.get(variant_id)
        if last is None:
            return now - answered_at >= FRESH_S
        if now - last.at < least_s:
            return False
        if answered_at > last.at and _is_faster(pace, last.pace):
            return True
        return now - last.at >= last.interval_s and now - answered_at >= FRESH_S

    def probed(
        self,
        variant_id: str,
        *,
        pace: float,
        answered_at: float,
        least_s: float,
        now: float,
        is_rare: bool = False,
    ) -> None:
        """A probe is sent. `is_rare`: the next one is far off unless this one refutes the belief."""
        last = self._last.pop(variant_id, None)
        interval_s = least_s
        if last is not None and not (answered_at > last.at and _is_faster(pace, last.pace)):
            interval_s = min(MAX_INTERVAL_S, max(least_s, 2 * last.interval_s))
        self._last[variant_id] = _Probe(now, pace, MAX_INTERVAL_S if is_rare else interval_s)
        if len(self._last) > MAX_VARIANTS:
            self._last.popitem(last=False)


def _is_faster(pace: float, before: float) -> bool:
    return pace < before / CONFIRMED
