"""Who is let in of those that the boundary of importance goes through: each client its fair share.

The room in the boundary bin is filled like water (max-min fairness): who offers less than the level is let in, who
offers more is cut down to it, so that a giant is refused before the many small are. Conversations that the room does
not suffice for are let in or refused whole, by a hash of name and hour, so that none is torn apart (as DAGOR does with
users, arXiv 1806.04075). Of everybody else every so-manieth request is let in.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

GENERATION_S = 0.5
MOST_CLIENTS = 2_048
# More requests than this in one generation are no conversation.
FEW = 16
HOUR_S = 3_600
NOBODY = ""


class Peer(str):
    """A client that is known by its connection; any other name is a conversation's."""

    __slots__ = ()


class Bundle(str):
    """Texts that come in one request, however many: all of them are let in, or none."""

    __slots__ = ()


class _Account:
    """What one client offered in one bin and generation, and the fraction of a request that it is owed."""

    __slots__ = ("cost", "credit", "requests")

    def __init__(self, credit: float) -> None:
        self.cost = 0.0
        self.requests = 0
        self.credit = credit


class FairShare:
    """Accounts of the last half-second and of this one. Those who come when all accounts are taken count as small."""

    __slots__ = ("_age_s", "_before", "_generation", "_level", "_now", "_small_portion")

    def __init__(self) -> None:
        self._now: dict[tuple[int, str], _Account] = {}
        self._before: dict[tuple[int, str], _Account] = {}
        self._age_s = 0.0
        self._generation = 0
        self._level = float("inf")
        self._small_portion = 1.0

    def count(self, bin_: int, client: str, cost: float) -> None:
        """A request of `client` is offered in `bin_`. An empty name is nobody in particular."""
        account = self._now.get((bin_, client)) or self._open(bin_, client)
        account.requests += 1
        account.cost += cost

    def lets_in(self, bin_: int, client: str, now: float) -> bool:
        """Whether a request of `client` belongs to what is let in of the boundary bin. It may be asked repeatedly."""
        portion, is_small = self._portion(bin_, client)
        if portion >= 1.0:
            return True
        if is_small and client and not isinstance(client, Peer):
            return coin(f"{client}|{int(now // HOUR_S)}") < portion
        account = self._account(bin_, client)
        credit = account.credit if account is not None else self._opening_credit(bin_, client)
        return credit + portion >= 1.0

    def settle(self, bin_: int, client: str, *, let_in: bool) -> None:
        """The request that was counted last in the boundary bin was let in, or not."""
        account = self._account(bin_, client)
        if account is not None:
            portion, _ = self._portion(bin_, client)
            account.credit = min(1.0, max(0.0, account.credit + portion - let_in))

    def roll(self, elapsed_s: float, *, boundary: int, share: float) -> None:
        """Time passed; from now on `share` of what is offered in bin `boundary` is let in."""
        self._age_s += elapsed_s
        if self._age_s >= GENERATION_S:
            self._age_s = 0.0
            self._generation += 1
            self._before, self._now = self._now, {}
        if boundary >= 0:
            self._fill(boundary, share)

    def _fill(self, boundary: int, share: float) -> None:
        seen = [(client, one) for (bin_, client), one in (self._before or self._now).items() if bin_ == boundary]
        offers = [
            (one.cost / one.requests, one.requests) if client == NOBODY else (one.cost, 1) for client, one in seen
        ]
        self._level = level = water_level(offers, share)
        offered = let_in = 0.0
        for (cost, times), (client, one) in zip(offers, seen, strict=True):
            if client == NOBODY or isinstance(client, Bundle) or one.requests <= FEW:
                offered += cost * times
                let_in += min(cost, level) * times
        self._small_portion = let_in / offered if offered > 0 else share

    def _open(self, bin_: int, client: str) -> _Account:
        account = self._account(bin_, client)
        if account is None:
            if len(self._now) >= MOST_CLIENTS:
                client = NOBODY
            account = self._now[bin_, client] = _Account(self._opening_credit(bin_, client))
        return account

    def _account(self, bin_: int, client: str) -> _Account | None:
        account = self._now.get((bin_, client))
        if account is None and len(self._now) >= MOST_CLIENTS:
            account = self._now.get((bin_, NOBODY))
        return account

    def _opening_credit(self, bin_: int, client: str) -> float:
        before = self._before.get((bin_, client))
        return before.credit if before is not None else coin(f"{client}|{self._generation}")

    def _portion(self, bin_: int, client: str) -> tuple[float, bool]:
        """How much of the client's requests is let in, and whether it is a small one."""
        if client == NOBODY or isinstance(client, Bundle):
            return self._small_portion, True
        before, account = self._before.get((bin_, client)), self._now.get((bin_, client))
        requests = max(before.requests if before else 0, account.requests if account else 0)
        if requests <= FEW:
            return self._small_portion, True
        offered = max(before.cost if before else 0.0, account.cost if account else 0.0)
        return (min(1.0, self._level / offered) if offered > 0 else 1.0), False


def water_level(offers: Iterable[tuple[float, int]], share: float) -> float:
    """The height up to which each of `offers` (amount, how many such) is served when `share` of their sum is.

    Infinity when nothing has to be cut.
    """
    ascending = sorted(offers)
    left = share * sum(amount * times for amount, times in ascending)
    clients = sum(times for _, times in ascending)
    for amount, times in ascending:
        if share < 1.0 and amount * clients >= left:
            return left / clients
        left -= amount * times
        clients -= times
    return float("inf")


def coin(name: str) -> float:
    """In [0, 1), always the same for the same name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) / 2**32
