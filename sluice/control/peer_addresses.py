"""The addresses of one peer that is known by a name: which to dial, and whether the one in use still counts."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.transport.resolver import ResolveError, Resolver, follow


def after(known: Mapping[str, int], failed: str) -> str:
    """Which of the addresses in `known` to dial when `failed` could not be reached: the next one, in turn.

    An address that is not known any more, or was never dialled, is followed by the first. Empty if none is known.
    """
    addresses = sorted(known)
    if not addresses:
        return ""
    later = [one for one in addresses if one > failed]
    return later[0] if failed in known and later else addresses[0]


class PeerAddresses:
    """One name's addresses. A resolver that fails changes nothing: the last answer holds."""

    def __init__(self, name: str, resolver: Resolver) -> None:
        self._name = name
        self._resolver = resolver
        self._known: dict[str, int] = {}
        self._current = ""

    async def refresh(self) -> str:
        """Look the name up again; returns why that failed, empty if it did not."""
        try:
            answer = await self._resolver.resolve(self._name)
        except ResolveError as error:
            return str(error)
        self._known = follow(self._known, answer)
        return ""

    @property
    def current(self) -> str:
        """The address to dial; it stays until it fails or leaves the name. Empty while none is known."""
        if self._current not in self._known:
            self._current = after(self._known, self._current)
        return self._current

    def failed(self) -> None:
        """The current address could not be reached: go on to the next one."""
        self._current = after(self._known, self._current)
