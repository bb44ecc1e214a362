"""Requests that ended a worker which they had for themselves: the same request is refused for a while, unseen.

A lone try is the evidence. A worker that is killed with many requests in flight says nothing about any of them.
"""

from __future__ import annotations

import secrets
import struct
from collections import OrderedDict
from hashlib import blake2b

from services.router.requests.request import Request
from services.router.requests.sampling_params import SamplingParams
from sluice.domain.errors import WorkerFailed

MOST_KEPT = 4_096
KEPT_S = 600.0
_DIGEST_BYTES = 16
_KEY_BYTES = 32


class Quarantine:
    """Knows requests by a keyed hash (BLAKE2b, RFC 7693) over model, input and sampling, and keeps none of their text.

    The key is this process's own, so that nobody can make a request that looks like another's. At most MOST_KEPT are
    known, each for KEPT_S seconds; the oldest are forgotten first. Times are of one monotonic clock, in seconds.
    """

    def __init__(self, *, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(_KEY_BYTES)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def confirm(self, request: Request, sampling: SamplingParams | None, now: float) -> None:
        """An identified request has ended a worker that did nothing else. `sampling` is None for what is no text."""
        fingerprint = self._fingerprint(request, sampling)
        self._until.pop(fingerprint, None)
        self._until[fingerprint] = now + KEPT_S
        while len(self._until) > MOST_KEPT:
            self._until.popitem(last=False)

    def check(self, request: Request, sampling: SamplingParams | None, now: float) -> None:
        """Raise WorkerFailed, with the time to come back, if an identified request is known to end workers."""
        self._forget(now)
        # Nothing is hashed while nothing is known.
        until = self._until.get(self._fingerprint(request, sampling)) if self._until else None
        if until is not None:
            left_s = until - now
            problem = (
                f"the same request has ended two workers, the second one alone; "
                f"it is not tried again for another {left_s:.0f} s"
            )
            raise WorkerFailed(problem, retry_after_s=left_s)

    def _forget(self, now: float) -> None:
        while self._until:
            oldest = next(iter(self._until))
            if now < self._until[oldest]:
                return
            del self._until[oldest]

    def _fingerprint(self, request: Request, sampling: SamplingParams | None) -> bytes:
        made = blake2b(key=self._key, digest_size=_DIGEST_BYTES)
        parts = [request.model, request.text]
        if sampling is None:
            made.update(struct.pack("<c?Q", b"i", request.truncate, request.top_k))
        else:
            parts += sampling.stop
            numbers = sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.top_k
            made.update(struct.pack("<cQddQ?Q", b"g", *numbers, sampling.seed is not None, sampling.seed or 0))
        for part in parts:
            data = part.encode()
            # With its length, no part can pass for the end of another.
            made.update(struct.pack("<Q", len(data)))
            made.update(data)
        return made.digest()
