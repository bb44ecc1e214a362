"""The admission law: how much of what is offered is let in, so that the queue keeps the delay it should have.

A proportional-integral law on queue delay around the measured capacity (as in Uber's Cinnamon; queue delay as the
signal as in DAGOR, arXiv 1806.04075, and Breakwater, OSDI 2020). It acts only after a queue has stood, so that a wrong
capacity alone, or batches that come in lumps, never refuse anybody; while the queue is short it looks for more room.
"""

from __future__ import annotations

from collections import deque

FOLLOW = 0.2
RISE = 0.5
NOMINAL_WINDOW_S = 0.1
MIN_WINDOWS = 3
MAX_WINDOWS = 10
BATCHES_SEEN = 4.0


class ThroughputEstimator:
    """Fed with what is served; `per_s` is None until the workers have been seen at their limit."""

    __slots__ = ("_current", "_newest_per_s", "_past", "_rate_per_s", "per_s")

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._rate_per_s = 0.0
        self._newest_per_s = 0.0
        self._current = 0.0
        self._past: deque[tuple[float, float]] = deque(maxlen=MAX_WINDOWS)

    def add(self, cost: float) -> None:
        """A request of `cost` device-seconds was answered."""
        self._current += cost

    @property
    def at_least_per_s(self) -> float:
        """The most that can be believed in: the capacity, or what was served lately, if only for a window."""
        return max(self.per_s or 0.0, self._rate_per_s, self._newest_per_s)

    def roll(self, elapsed_s: float, *, batch_s: float) -> None:
        """Close the window, which was open for `elapsed_s`. Batches of `batch_s` come in lumps, and are averaged."""
        self._past.append((self._current, elapsed_s))
        self._newest_per_s = self._current / elapsed_s
        self._current = 0.0
        windows = min(MAX_WINDOWS, max(MIN_WINDOWS, round(BATCHES_SEEN * batch_s / NOMINAL_WINDOW_S)))
        recent = list(self._past)[-windows:]
        self._rate_per_s = sum(cost for cost, _ in recent) / sum(span for _, span in recent)

    def learn(self, elapsed_s: float, *, stood: bool) -> None:
        """Learn from the window closed last; `stood` says that work stood in line for all of it."""
        rate_per_s = self._rate_per_s
        if rate_per_s <= 0:
            # Workers that stand still, as for a change of models, have not become slow.
            return
        if self.per_s is None:
            self.per_s = rate_per_s if stood else None
        elif stood or rate_per_s > self.per_s:
            weight = 1.0 - (1.0 - (FOLLOW if stood else RISE)) ** (elapsed_s / NOMINAL_WINDOW_S)
            self.per_s += weight * (rate_per_s - self.per_s)

    def skip(self) -> None:
        """Forget the windows at hand, which span a time in which nobody looked."""
        self._past.clear()
        self._current = 0.0


# In this time the room is such that the queue's error would be worked off.
WORK_OFF_S = 0.5
INTEGRAL_GAIN_PER_S2 = 1.0
# While the queue is short, the room grows by this share of the capacity in each second, to find what has come back.
PROBE_PER_S = 2.0
# So much of it stays when the queue is there again.
KEPT = 0.1
CORRECTION = (-0.5, 0.5)
ROOM = (0.3, 1.5)
# A queue this many times too long needs no second look.
GLARING = 2.0
STANDING_TICKS = 2
# Offered this share of the capacity, the queue is worked off by itself.
DRAINS = 0.9
QUIET_S = 0.3


class QueueDelayLimiter:
    """`share` of what is offered, in [0, 1], is to be let in; 1.0 unless `acting`. Times are seconds, rates cost/s."""

    __slots__ = ("_correction", "_long_ticks", "_probe", "_quiet_s", "acting", "share")

    def __init__(self) -> None:
        self.acting = False
        self.share = 1.0
        self._correction = 0.0
        self._probe = 0.0
        self._long_ticks = 0
        self._quiet_s = 0.0

    def tick(
        self,
        *,
        elapsed_s: float,
        queue_s: float,
        target_s: float,
        patience_s: float,
        capacity_per_s: float,
        offered_per_s: float,
    ) -> None:
        """Look at the queue once more, `elapsed_s` after the last look.

        A queue that stands longer than `patience_s` is an overload, and is brought back to `target_s`.
        """
        self._long_ticks = self._long_ticks + 1 if queue_s > patience_s else 0
        if not self.acting:
            if self._long_ticks < STANDING_TICKS and queue_s <= GLARING * patience_s:
                return
            if capacity_per_s <= 0.0 or offered_per_s <= 0.0:
                # A late loop alone: there is nobody to refuse, or no telling how many.
                return
            self.acting = True
            self._correction = self._probe = self._quiet_s = 0.0
        room_per_s = self._room(elapsed_s, queue_s, target_s) * capacity_per_s
        is_quiet = queue_s < target_s / 2 and offered_per_s < room_per_s
        self._quiet_s = self._quiet_s + elapsed_s if is_quiet else 0.0
        if self._quiet_s >= QUIET_S:
            self.acting = False
            self.share = 1.0
            return
        if offered_per_s <= DRAINS * capacity_per_s and queue_s <= patience_s:
            # The queue grows shorter without anybody being refused, and is short enough for that.
            self.share = 1.0
            return
        self.share = min(1.0, room_per_s / offered_per_s) if offered_per_s > 0 else 1.0

    def _room(self, elapsed_s: float, queue_s: float, target_s: float) -> float:
        error_s = target_s - queue_s
        correction = self._correction + INTEGRAL_GAIN_PER_S2 * error_s * elapsed_s
        if queue_s < target_s / 2:
            # Nobody waits long enough to justify refusing more than the capacity says.
            self._probe += PROBE_PER_S * elapsed_s
            correction = max(correction, correction / 2) + KEPT * PROBE_PER_S * elapsed_s
        else:
            # What was found is capacity by now; what was only guessed must not stay.
            self._probe = 0.0
        self._correction = min(CORRECTION[1], max(CORRECTION[0], correction))
        return min(ROOM[1], max(ROOM[0], 1.0 + error_s / WORK_OFF_S + self._correction + self._probe))
