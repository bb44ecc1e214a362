"""The words that prompts are made of; each is one token."""

from __future__ import annotations

import itertools
import string

_LETTERS = 4


def words(count: int) -> list[str]:
    """So many words, all of them different."""
    letters = itertools.product(string.ascii_lowercase, repeat=_LETTERS)
    return ["".join(one) for one in itertools.islice(letters, count)]
