"""Who is let in of those that the boundary of importance goes through: each caller its fair share.

The room in the boundary bin is filled like water (max-min fairness): who offers less than the level is let in, who
offers more is cut down to it, so that a giant is refused before the many small are. Of a caller who is cut, every
so-manieth request is let in. Who offers less than a fair share of the capacity is not cut even while there is less room
than that: the queue that is then worked off is of others' making, and fair queueing serves this caller before them.

A caller's conversations are let in or refused whole, as far as its share allows, by a hash of name and hour, so that
few are torn apart (as DAGOR does with users, arXiv 1806.04075). A conversation earns its caller nothing: however many
names a caller makes up, its account is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from services.router.requests.caller import Bundle

GENERATION_S = 0.5
MAX_CALLERS = 2_048
HOUR_S = 3_600
NOBODY = ""
# By so many requests may a caller's conversations get more or less than its share, before that decides for them.
CONVERSATION_CREDIT = 512.0
CREDIT_RANGE = (-4_096.0, CONVERSATION_CREDIT)


class _Account:
    """What one caller offered in one bin and generation, and the fraction of a request that it is owed."""

    __slots__ = ("cost", "credit", "requests")

    def __init__(self, credit: float) -> None:
        self.cost = 0.0
        self.requests = 0
        self.credit = credit


class FairShare:
    """Accounts of the last half-second and of this one. Those who come when all accounts are taken count as small."""

    __slots__ = ("_age_s", "_before", "_generation", "_guaranteed", "_level", "_mean_cost", "_now")

    def __init__(self) -> None:
        self._now: dict[tuple[int, str], _Account] = {}
        self._before: dict[tuple[int, str], _Account] = {}
        self._age_s = 0.0
        self._generation = 0
        self._level = float("inf")
        self._guaranteed = 0.0
        self._mean_cost = 0.0

    def count(self, bin_: int, caller: str, cost: float, requests: int = 1) -> None:
        """Requests of `caller` that cost so much together are offered in `bin_`. An empty name is nobody's."""
        account = self._now.get((bin_, caller)) or self._open(bin_, caller)
        account.requests += requests
        account.cost += cost

    def lets_in(
        self, bin_: int, caller: str, now: float, *, conversation: str = "", bundle: Bundle | None = None
    ) -> bool:
        """Whether a request of `caller` belongs to what is let in of the boundary bin. It may be asked repeatedly."""
        portion = self._portion(bin_, caller)
        if portion >= 1.0:
            return True
        if bundle is not None and (verdict := bundle.verdicts.get(id(self))) is not None:
            return verdict
        account = self._account(bin_, caller)
        credit = account.credit if account is not None else self._opening_credit(bin_, caller)
        if conversation:
            drawn = stable_hash_unit(f"{caller}|{conversation}|{int(now // HOUR_S)}")
            let_in = drawn < portion + credit / CONVERSATION_CREDIT
        else:
            let_in = credit + portion >= 1.0
        if bundle is not None:
            bundle.verdicts[id(self)] = let_in
        return let_in

    def settle(self, bin_: int, caller: str, *, let_in: bool, requests: int = 1) -> None:
        """The requests that were counted last in the boundary bin were let in, or not."""
        account = self._account(bin_, caller)
        if account is not None:
            credit = account.credit + requests * (self._portion(bin_, caller) - let_in)
            account.credit = min(CREDIT_RANGE[1], max(CREDIT_RANGE[0], credit))

    def roll(self, elapsed_s: float, *, boundary: int, share: float, guaranteed: float = 0.0) -> None:
        """Time passed; from now on `share` of what is offered in bin `boundary` is let in.

        `guaranteed` is how much of it could be served if no queue had to be worked off.
        """
        self._age_s += elapsed_s
        if self._age_s >= GENERATION_S:
            self._age_s = 0.0
            self._generation += 1
            self._before, self._now = self._now, {}
        if boundary >= 0:
            self._fill(boundary, share, guaranteed)

    def _fill(self, boundary: int, share: float, guaranteed: float) -> None:
        seen = [(caller, one) for (bin_, caller), one in (self._before or self._now).items() if bin_ == boundary]
        requests = sum(one.requests for _, one in seen)
        self._mean_cost = sum(one.cost for _, one in seen) / requests if requests else 0.0
        offers = [
            (one.cost / one.requests, one.requests) if caller == NOBODY and one.requests else (one.cost, 1)
            for caller, one in seen
        ]
        self._guaranteed, self._level = 0.0, max_min_level(offers, share)
        if share < guaranteed < 1.0:
            self._guaranteed = max_min_level(offers, guaranteed)
            small = sum(amount * times for amount, times in offers if amount <= self._guaranteed)
            large = sum(times for amount, times in offers if amount > self._guaranteed)
            room = share * sum(amount * times for amount, times in offers)
            self._level = max(0.0, room - small) / large if large else self._guaranteed

    def _open(self, bin_: int, caller: str) -> _Account:
        account = self._account(bin_, caller)
        if account is None:
            if len(self._now) >= MAX_CALLERS:
                caller = NOBODY
            account = self._now[bin_, caller] = _Account(self._opening_credit(bin_, caller))
        return account

    def _account(self, bin_: int, caller: str) -> _Account | None:
        account = self._now.get((bin_, caller))
        if account is None and len(self._now) >= MAX_CALLERS:
            account = self._now.get((bin_, NOBODY))
        return account

    def _opening_credit(self, bin_: int, caller: str) -> float:
        before = self._before.get((bin_, caller))
        # The first request of somebody new is let in as often as any other: not always, and not never.
        return before.credit if before is not None else stable_hash_unit(f"{caller}|{self._generation}")

    def _portion(self, bin_: int, caller: str) -> float:
        """How much of the caller's requests is let in. Who has offered little yet is about to offer one."""
        offered = self._mean_cost
        if caller != NOBODY:
            before, account = self._before.get((bin_, caller)), self._now.get((bin_, caller))
            offered = max(offered, before.cost if before else 0.0, account.cost if account else 0.0)
        if offered <= self._guaranteed:
            return 1.0
        return min(1.0, self._level / offered) if offered > 0 else 1.0


def max_min_level(offers: Iterable[tuple[float, int]], share: float) -> float:
    """The height up to which each of `offers` (amount, how many such) is served when `share` of their sum is.

    Infinity when nothing has to be cut.
    """
    ascending = sorted(offers)
    left = share * sum(amount * times for amount, times in ascending)
    callers = sum(times for _, times in ascending)
    for amount, times in ascending:
        if share < 1.0 and amount * callers >= left:
            return left / callers
        left -= amount * times
        callers -= times
    return float("inf")


def stable_hash_unit(name: str) -> float:
    """In [0, 1), always the same for the same name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) / 2**32
