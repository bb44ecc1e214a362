"""Who listens to a generator: every piece by key, and none may follow a last one."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence

from sluice.worker.execution.generator import Chunk

_WITHIN_S = 60.0


class Ear:
    """Hears on any thread, and waits on the test's. A key that begins again counts from there."""

    def __init__(self) -> None:
        self.pieces: dict[int, list[Chunk]] = defaultdict(list)
        self.too_late: list[Chunk] = []
        self._changed = threading.Condition()

    def __call__(self, pieces: Sequence[Chunk]) -> None:
        """What a generator says."""
        with self._changed:
            for piece in pieces:
                heard = self.pieces[piece.key]
                if heard and heard[-1].is_last:
                    self.too_late.append(piece)
                heard.append(piece)
            self._changed.notify_all()

    def forget(self, key: int) -> None:
        """The key begins again."""
        with self._changed:
            del self.pieces[key]

    def begun(self, *keys: int, tokens: int = 1) -> None:
        """Wait until these have so many tokens, or have ended."""
        self._wait(lambda: all(self._tokens(key) >= tokens or self._has_ended(key) for key in keys))

    def last(self, key: int) -> Chunk:
        """The last piece."""
        self._wait(lambda: self._has_ended(key))
        return self.pieces[key][-1]

    def lasts(self, keys: Sequence[int]) -> list[Chunk]:
        """The last piece of each."""
        return [self.last(key) for key in keys]

    def text(self, key: int) -> str:
        """All of a text that ends."""
        self.last(key)
        return "".join(piece.text for piece in self.pieces[key])

    def _tokens(self, key: int) -> int:
        return self.pieces[key][-1].tokens if self.pieces[key] else 0

    def _has_ended(self, key: int) -> bool:
        return bool(self.pieces[key]) and self.pieces[key][-1].is_last

    def _wait(self, ready: object) -> None:
        assert callable(ready)
        with self._changed:
            assert self._changed.wait_for(ready, timeout=_WITHIN_S), dict(self.pieces)
