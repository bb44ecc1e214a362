"""How large a message may be that leaves a program: what its reader takes, which is 4 MiB unless the reader says more.

No gRPC library takes more than 4 MiB until it is told to, and one that gets more ends the whole call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluice.domain.errors import AnswerTooLarge

# In the metadata of a call: the largest message, in bytes, that the caller takes on it.
MAX_MESSAGE_KEY = "x-sluice-max-message-bytes"
STOCK_BYTES = 4 * 1024 * 1024
MAX_BYTES = 64 * 1024 * 1024
# The least that a worker may announce of itself.
LEAST_BYTES = 65_536
# For what stands around a message on its way.
HEADROOM_BYTES = 1_024
DEFAULT_LIMIT_BYTES = STOCK_BYTES - HEADROOM_BYTES

Pairs = Iterable[tuple[str, str | bytes]]


def limit_of(metadata: Pairs | None) -> int:
    """The most bytes of a message for a caller who sent `metadata`. What is no number, or less than 4 MiB, is 4 MiB."""
    for key, value in metadata or ():
        if key == MAX_MESSAGE_KEY and len(value) <= len(str(MAX_BYTES)):
            text = value if isinstance(value, str) else value.decode(errors="replace")
            if text.isascii() and text.isdigit():
                return min(MAX_BYTES, max(STOCK_BYTES, int(text))) - HEADROOM_BYTES
    return DEFAULT_LIMIT_BYTES


def limit_for(announced: int) -> int:
    """The most bytes of a message for a worker whose card announces so many; 0 is 4 MiB."""
    return min(MAX_BYTES, announced or STOCK_BYTES) - HEADROOM_BYTES


def checked(data: bytes, metadata: Callable[[], Pairs | None]) -> bytes:
    """`data`, if the caller who sent `metadata`, read only where it matters, takes it. Raises AnswerTooLarge."""
    if len(data) > DEFAULT_LIMIT_BYTES and len(data) > (limit := limit_of(metadata())):
        raise too_large(len(data), limit)
    return data


def too_large(size: int, limit: int) -> AnswerTooLarge:
    """The error of an answer that alone is larger than its reader takes."""
    return AnswerTooLarge(
        f"the answer has {size} bytes, and the caller takes {limit}; {MAX_MESSAGE_KEY} announces more"
    )
