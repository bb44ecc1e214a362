"""What a run comes to, counted as it happens: in windows of time, and over all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sluice.domain.enums import Tier
from sluice.load.kind import Kind, pool_of
from sluice.load.window import Window
from sluice.v1 import inference_service_pb2 as inference_pb2

FULL_SERVICE = "0"
_NAMES = {(hot, kind): f"{pool_of(hot)}.{kind}" for hot in (True, False) for kind in Kind}
_OFFERED = {hot: f"{pool_of(hot)}.offered" for hot in (True, False)}
_KEPT = {hot: f"{pool_of(hot)}.kept" for hot in (True, False)}
_LATENCY = {hot: f"{pool_of(hot)}.latency" for hot in (True, False)}
_TIERS = {tier.value: f"tier.{tier.label}" for tier in Tier}


class Tally:
    """Counts of a run, or of one process's part of it. Instants are seconds from the run's start.

    `whole` is the window of what has no place in time: statuses, conversations, and how the generator itself did.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self.windows: defaultdict[int, Window] = defaultdict(Window)
        self.whole = Window()
        self._levels: dict[tuple[int, ...], str] = {(): f"level.{FULL_SERVICE}"}

    def at(self, instant_s: float) -> Window:
        """The window of an instant."""
        return self.windows[int(instant_s / self._window_s)]

    def offered(self, *, hot: bool, at_s: float) -> None:
        """A request is due."""
        self.at(at_s).counts[_OFFERED[hot]] += 1

    def sent(self, *, at_s: float, lag_ms: float | None) -> None:
        """An attempt goes out; `lag_ms` after the instant it was scheduled for, if it is a request's first."""
        self.at(at_s).counts["sent"] += 1
        if lag_ms is not None:
            self.whole.histograms["lag"].add(lag_ms)

    def refused(self, took_ms: float) -> None:
        """An attempt was refused, so long after it was sent."""
        self.whole.histograms["refusal"].add(took_ms)

    def ended(self, kind: Kind, *, hot: bool, at_s: float, scheduled_s: float, status: str) -> None:
        """A request has ended, by `status` in the mesh's own words."""
        window = self.at(at_s)
        window.counts[_NAMES[hot, kind]] += 1
        self.whole.counts[f"status.{status}"] += 1
        if kind is Kind.OK:
            self.at(scheduled_s).counts[_KEPT[hot]] += 1
        if kind is Kind.OK or kind is Kind.LATE:
            window.histograms[_LATENCY[hot]].add((at_s - scheduled_s) * 1000)

    def answered(self, answer: inference_pb2.InferResponse, *, label: str, at_s: float) -> None:
        """What an answer says of the mesh; `label` is the right one, or empty where it is not known."""
        window = self.at(at_s)
        key = tuple(answer.levels)
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = "level." + "+".join(map(str, key))
        window.counts[level] += 1
        window.counts[_TIERS[answer.tier]] += 1
        queue = answer.timing.queue
        window.histograms["queue"].add(queue.seconds * 1e3 + queue.nanos * 1e-6)
        if answer.degraded_from:
            self.whole.counts[f"degraded_from.{Tier(answer.degraded_from).label}"] += 1
        if label:
            self.whole.counts["labels.known"] += 1
            self.whole.counts["labels.right"] += answer.classification.label == label

    def count(self, name: str) -> None:
        """One more of what has no place in time."""
        self.whole.counts[name] += 1

    def drain(self) -> dict[str, Any]:
        """What was counted since the last call, as JSON; counting begins anew."""
        drained = {
            "windows": {str(place): window.to_json() for place, window in self.windows.items()},
            "whole": self.whole.to_json(),
        }
        self.windows.clear()
        self.whole = Window()
        return drained

    def merge(self, drained: Mapping[str, Any]) -> None:
        """Add what another tally gave."""
        for place, values in drained["windows"].items():
            self.windows[int(place)].merge(Window.from_json(values))
        self.whole.merge(Window.from_json(drained["whole"]))
